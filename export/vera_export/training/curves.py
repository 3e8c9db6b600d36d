"""Learning curves: a JSON line per report, and TensorBoard events where it is installed."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Writes one row per report to ``curves.jsonl``, appending on a resume."""

    def __init__(self, folder: Path, *, events: bool = True) -> None:
        """``events``: also write TensorBoard's, to ``tensorboard/`` in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "curves.jsonl"
        self._writer: Any = None
        if events and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"))
        self.last: dict[str, float] = {}

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row; ``values`` are plain numbers."""
        self.last = {"step": step, **{k: round(float(v), 5) for k, v in values.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(self.last) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Ends the events file."""
        if self._writer is not None:
            self._writer.close()
