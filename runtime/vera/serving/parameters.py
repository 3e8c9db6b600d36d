"""The parameters of the served model, as its config.pbtxt gives them: text, all of it optional."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from vera.errors import UsageError
from vera.wire.server import Limits

Device = Literal["cpu", "cuda"]

_SLOTS_OF_GPU = 8


@dataclass(frozen=True, slots=True)
class Parameters:
    """How one server works.

    Attributes:
        bundle: Folder of the bundle; None takes the one inside the package.
        slots: How many cases are in work at once; unless given, as many as there are cores for
            them, or eight on a GPU, which makes their steps as one batch.
        queue: How many further ones wait.
        threads: Cores that may be used; None takes all of the process.
        device: Where the engines run.
        progress_every: Every n-th progress of a stage is told.
        limits: What one request may ask for.
    """

    bundle: Path | None = None
    slots: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    queue: int = 64
    threads: int | None = None
    device: Device = "cpu"
    progress_every: int = 4
    limits: Limits = field(default_factory=Limits)


def read_parameters(config: str, folder: Path) -> Parameters:
    """The parameters in a model's configuration.

    Args:
        config: JSON of config.pbtxt, as Triton hands it to a model.
        folder: The model's folder, which a relative ``bundle`` starts from.

    Raises:
        UsageError: A value makes no sense, or a name is unknown.
    """
    given = {name: _text(name, value) for name, value in _parameters(config).items()}
    unknown = sorted(set(given) - _NAMES)
    if unknown:
        raise UsageError(
            f"The model has the unknown parameter '{unknown[0]}'; use {', '.join(sorted(_NAMES))}."
        )
    # Empty text is how a rendered configuration says that nothing was chosen.
    given = {name: text for name, text in given.items() if text}
    values: dict[str, Any] = {name: _KINDS[name](name, text) for name, text in given.items()}
    sizes = {name[4:]: values.pop(name) for name in tuple(values) if name.startswith("max_")}
    if "bundle" in values:
        values["bundle"] = folder / values["bundle"]
    if values.get("device") == "cuda":
        values.setdefault("slots", _SLOTS_OF_GPU)
    elif "threads" in values:
        values.setdefault("slots", values["threads"])
    return Parameters(**values, limits=Limits(**sizes))


def _parameters(config: str) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], json.loads(config).get("parameters") or {})


def _text(name: str, value: object) -> str:
    text = value.get("string_value") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise UsageError(f"The parameter '{name}' must be a string_value; correct config.pbtxt.")
    return text.strip()


def _whole(least: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise UsageError(
                f"The parameter '{name}' must be a whole number from {least} on, got '{text}'; "
                "correct config.pbtxt."
            )
        return int(text)

    return read


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(
            f"The parameter '{name}' must be seconds above 0, got '{text}'; correct config.pbtxt."
        )
    return seconds


def _device(name: str, text: str) -> str:
    if text not in ("cpu", "cuda"):
        raise UsageError(
            f"The parameter '{name}' must be cpu or cuda, got '{text}'; correct config.pbtxt."
        )
    return text


_KINDS: Mapping[str, Callable[[str, str], Any]] = {
    "bundle": lambda _, text: Path(text),
    "slots": _whole(1),
    "queue": _whole(0),
    "threads": _whole(1),
    "device": _device,
    "progress_every": _whole(1),
    **{f"max_{field.name}": _whole(1) for field in fields(Limits)},
    "max_steps": _whole(0),
    "max_seconds": _seconds,
}
_NAMES = frozenset(_KINDS)
