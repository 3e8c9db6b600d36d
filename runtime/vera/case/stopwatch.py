"""Time per stage, for the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Adds up the wall-clock time of named stages."""

    def __init__(self) -> None:
        """Starts with no stage."""
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of a ``with`` block to ``name``."""
        start = perf_counter()
        try:
            yield
        finally:
            spent = 1000 * (perf_counter() - start)
            self.milliseconds[name] = round(self.milliseconds.get(name, 0.0) + spent, 1)
