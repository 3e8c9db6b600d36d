"""Checkpoints of the generator's training: plain NumPy archives in half precision, in small files.

Readable with NumPy alone, so that a run can go on where only torch and NumPy are installed, and
small enough to be carried there. Moments of the optimisers are not kept: a resumed run warms up.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vera.errors import UsageError

LIMIT = 14 * 2**20  # bytes per file
_STATE = "checkpoint.json"


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], limit: int = LIMIT
) -> None:
    """Writes ``checkpoint.json`` and as many ``checkpoint-NN.npz`` as ``limit`` asks for.

    The JSON names the archives and is renamed into place last: a killed run leaves the checkpoint
    before it readable.

    Args:
        folder: Where to.
        tensors: Floating-point tensors by name; stored as float16.
        state: JSON values that belong to it.
        limit: Largest number of bytes per file.

    Raises:
        UsageError: One tensor alone is over the limit, or is not finite in half precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    previous = _read_state(folder)["files"] if (folder / _STATE).is_file() else []
    turn = 1 - int(previous[0].split("-")[1]) if previous else 0
    files: list[str] = []
    for group in _groups(tensors, limit):
        name = f"checkpoint-{turn}-{len(files):02d}.npz"
        part = folder / f".{name}.part.npz"
        np.savez(part, **group)
        part.replace(folder / name)
        files.append(name)
    part = folder / f".{_STATE}.part"
    part.write_text(json.dumps({"files": files, "state": dict(state)}, indent=1))
    part.replace(folder / _STATE)
    for name in set(previous) - set(files):
        (folder / name).unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (float32) and state of :func:`write_checkpoint`.

    Raises:
        UsageError: There is no complete checkpoint in ``folder``.
    """
    state = _read_state(folder)
    tensors: dict[str, Tensor] = {}
    try:
        for name in state["files"]:
            with (folder / name).open("rb") as file, np.load(file) as archive:
                tensors |= {k: torch.from_numpy(archive[k].astype(np.float32)) for k in archive}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"The checkpoint lacks a readable {name} ({error}); pass another folder."
        ) from error
    return tensors, state["state"]


def is_checkpoint(folder: Path) -> bool:
    """Whether ``folder`` holds a checkpoint."""
    return (folder / _STATE).is_file()


def gathered(modules: Mapping[str, torch.nn.Module]) -> dict[str, Tensor]:
    """State of several modules in one table, names joined by a slash."""
    return {
        f"{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def scatter(tensors: Mapping[str, Tensor], modules: Mapping[str, torch.nn.Module]) -> list[str]:
    """Loads :func:`gathered` tensors strictly; a module without any entry is left as it is.

    Returns:
        Names of the modules that were loaded.

    Raises:
        UsageError: The entries of a module do not fit it.
    """
    loaded = []
    for name, module in modules.items():
        own = {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{name}/")}
        if not own:
            continue
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UsageError(
                f"The checkpoint's {name} does not fit ({reason}); resume with the same preset."
            ) from error
        loaded.append(name)
    return loaded


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / _STATE).read_text())
        return {"files": list(state["files"]), "state": dict(state["state"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"There is no checkpoint in {folder} ({error}); pass a folder that holds {_STATE}."
        ) from error


def _groups(tensors: Mapping[str, Tensor], limit: int) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().to(torch.float16).numpy()
        if not np.isfinite(value).all():
            raise UsageError(
                f"{name} is not finite in half precision; resume the checkpoint before it."
            )
        size = value.nbytes + 512  # what an entry's headers take at the most
        if size > limit:
            raise UsageError(
                f"{name} alone takes {size} bytes, more than the {limit} per file; raise the limit."
            )
        if used + size > limit:
            groups.append({})
            used = 0
        groups[-1][name] = value
        used += size
    return groups
