"""What a running job shows: a bar on a terminal, a line per case elsewhere.

Photographs are called by number. File names often name the person, and terminals are logged; they
are shown only with ``--names original``.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from vera.batch.cases import CaseList
from vera.batch.summary import CaseOutcome

if TYPE_CHECKING:
    from rich.progress import Progress


class Pace:
    """How fast a job is and how long it will take, by what it has done so far.

    What an earlier run had finished, and the time to find that out, say nothing about either.
    """

    def __init__(self, photos: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with ``photos`` to do; ``clock`` tells seconds."""
        self._clock = clock
        self._start = clock()
        self._left = photos
        self.worked = 0

    def finish(self, photos: int, *, resumed: bool) -> None:
        """Count the photographs of a case."""
        self._left -= photos
        if not resumed:
            self.worked += photos
        elif not self.worked:
            self._start = self._clock()

    @property
    def total(self) -> int:
        """Photographs of this run: worked on, or to be."""
        return self.worked + self._left

    def per_minute(self) -> float:
        """Photographs done per minute."""
        return self.worked / self._elapsed() * 60

    def time_left(self, begun: float = 0.0) -> str:
        """Hours, minutes and seconds, ``"-:--:--"`` as long as nothing is known.

        Args:
            begun: How much of the case in work is done, in photographs.
        """
        worked = self.worked + begun
        if worked <= 0:
            return "-:--:--"
        seconds = self._elapsed() * max(self._left - begun, 0.0) / worked
        return str(timedelta(seconds=round(seconds)))

    def _elapsed(self) -> float:
        return max(self._clock() - self._start, 1e-3)


class Display:
    """Shows one job on ``stream``, normally stderr: stdout is left to the summary."""

    def __init__(self, cases: CaseList, *, named: bool, stream: TextIO | None = None) -> None:
        """Prepare; ``named`` allows labels and file names to be shown."""
        self._cases = cases
        self._named = named
        self._stream = stream or sys.stderr
        self._bar: Progress | None = None
        self._pace = Pace(cases.photo_count)
        self._done = 0  # photographs with a verdict
        self._next = 0  # index of the case that is being done

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar meanwhile, if the stream is a terminal."""
        if not self._stream.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
        )
        with Progress(*columns, console=Console(file=self._stream)) as self._bar:
            self._bar.add_task("working", total=self._cases.photo_count, count="")
            yield
        self._bar = None

    def stage(self, name: str, fraction: float) -> None:
        """Show progress inside the case being done; ``fraction`` in [0, 1]."""
        photos = len(self._cases.cases[self._next].photos)
        self._update(name, fraction * photos)

    def finished(self, outcome: CaseOutcome) -> None:
        """Show a finished case: a sentence for every photograph that was refused."""
        photos = len(outcome.case.photos)
        self._next = outcome.number
        self._done += photos
        self._pace.finish(photos, resumed=outcome.resumed)
        self._update("working", 0.0)
        if self._bar is None:
            before = ", by an earlier run" if outcome.resumed else ""
            refused = sum(photo.verdict == "refused" for photo in outcome.photos)
            self._print(
                f"case {outcome.number} of {len(self._cases.cases)}: "
                f"{len(outcome.photos) - refused} anonymized, {refused} refused{before}"
            )
        told = [
            f"{self._name(outcome, place % photos + 1)}: {photo.message}"
            for place, photo in enumerate(outcome.photos)
            if photo.verdict == "refused"
        ]
        for line in dict.fromkeys(told):  # a photograph is refused for each new identity alike
            self._print(line)

    def _update(self, description: str, begun: float) -> None:
        if self._bar is None:
            return
        pace = self._pace
        count = f"{self._done}/{self._cases.photo_count} photos"
        if pace.worked:
            count += f", {pace.per_minute():.1f} per minute"
        self._bar.update(
            self._bar.task_ids[0],
            description=description[:12],
            completed=pace.worked + begun,
            total=pace.total,
            count=f"{count}, {pace.time_left(begun)} left",
        )

    def _name(self, outcome: CaseOutcome, number: int) -> str:
        case = f"case {outcome.number}, " if self._cases.nested else ""
        if not self._named:
            return f"{case}photo {number}"
        label = f"{outcome.case.label}/" if self._cases.nested else ""
        return f"{label}{outcome.case.photos[number - 1].name}"

    def _print(self, line: str) -> None:
        if self._bar is not None:
            from rich.text import Text

            self._bar.console.print(Text(line))  # not as markup: a name may hold brackets
        else:
            self._stream.write(line + "\n")
