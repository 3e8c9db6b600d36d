"""Reading foreign checkpoints: tensors only, and every key accounted for."""

import argparse
import hashlib
import json
import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera.errors import UsageError

Shapes = Mapping[str, tuple[int, ...]]

_NAMED = 12  # keys of one kind in a message; the rest is counted


def read_pickle(path: Path) -> Any:
    """Content of a ``torch.save`` file, without running any code that it may hold.

    Raises:
        UsageError: It does not exist, is damaged, or holds something other than tensors, plain
            containers and an ``argparse.Namespace``.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols; what matters is an exception
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"The checkpoint {path} does not exist; check the path.") from error
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path.name} holds Python objects besides tensors, which could run code "
            f"({_first_line(error)}); save its state dict alone and convert that."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path.name} is no checkpoint that can be read ({_first_line(error)}); "
            "download it again."
        ) from error


def tensors_of(found: object, path: Path) -> dict[str, Tensor]:
    """A state dict.

    Raises:
        UsageError: ``found`` is something else.
    """
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path.name} holds no state dict; save the network's state dict.")
    odd = [key for key, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise UsageError(
            f"{path.name} holds {odd[0]!r}, which is no tensor; save the network's state dict."
        )
    return {str(key): value for key, value in found.items()}


def check_keys(
    what: str, found: Mapping[str, Tensor], wanted: Shapes, ignored: Collection[str] = ()
) -> None:
    """Compares keys and shapes; keys that begin with one of ``ignored`` may be there.

    Raises:
        UsageError: Keys are missing, unknown or of another shape; all of them are named.
    """
    missing = [key for key in wanted if key not in found]
    extra = [k for k in found if k not in wanted and not k.startswith(tuple(ignored))]
    odd = [
        f"{key} is {list(found[key].shape)} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in found and tuple(found[key].shape) != tuple(shape)
    ]
    faults = []
    if missing:
        faults.append(f"lacks {_listed(missing)}")
    if extra:
        faults.append(f"has the unknown {_listed(extra)}")
    if odd:
        faults.append(f"has other shapes ({_listed(odd)})")
    if faults:
        raise UsageError(
            f"The checkpoint is not {what}: it {' and '.join(faults)}; convert the original file."
        )


def write_record(out: Path, name: str, sources: Collection[Path], **entries: Any) -> dict[str, Any]:
    """Writes ``<name>.json`` beside the weights: where they come from, by hash, and their licence.

    Returns:
        What was written.
    """
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    record = {"converted_from": hashes, **entries}
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def _listed(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no message"])[0][:160]
