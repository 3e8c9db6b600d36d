"""What a running job shows: a bar on a terminal, a line per case elsewhere, a summary at the end.

Photographs are called by number. File names often name the person, and terminals are logged; they
are shown only with ``--names original``.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from vera.cases import CaseList
from vera.job import CaseOutcome, JobSummary

if TYPE_CHECKING:
    from rich.progress import Progress


class Display:
    """Shows one job on ``stream``, normally stderr: stdout is left to the summary."""

    def __init__(self, cases: CaseList, *, named: bool, stream: TextIO | None = None) -> None:
        """Prepare; ``named`` allows labels and file names to be shown."""
        self._cases = cases
        self._named = named
        self._stream = stream or sys.stderr
        self._bar: Progress | None = None
        self._done = 0  # photographs with a verdict
        self._resumed = 0  # of these, by an earlier run: they say nothing about the speed
        self._next = 0  # index of the case that is being done
        self._start = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar meanwhile, if the stream is a terminal."""
        if not self._stream.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(file=self._stream)) as self._bar:
            self._bar.add_task("starting", total=self._cases.photo_count, count="")
            yield
        self._bar = None

    def stage(self, name: str, fraction: float) -> None:
        """Show progress inside the case being done; ``fraction`` in [0, 1]."""
        photos = len(self._cases.cases[self._next].photos)
        self._update(name, self._done + fraction * photos)

    def finished(self, outcome: CaseOutcome) -> None:
        """Show a finished case: a sentence for every photograph that was refused."""
        self._next = outcome.number
        self._done += len(outcome.photos)
        self._resumed += len(outcome.photos) if outcome.resumed else 0
        self._update("done", self._done)
        refused = [n for n, photo in enumerate(outcome.photos, 1) if photo.verdict == "refused"]
        if self._bar is None:
            before = ", by an earlier run" if outcome.resumed else ""
            anonymized = len(outcome.photos) - len(refused)
            self._print(
                f"case {outcome.number} of {len(self._cases.cases)}: {anonymized} anonymized, "
                f"{len(refused)} refused{before}"
            )
        for number in refused:
            self._print(f"{self._name(outcome, number)}: {outcome.photos[number - 1].message}")

    def _update(self, description: str, done: float) -> None:
        if self._bar is None:
            return
        worked = self._done - self._resumed
        rate = worked / max(time.monotonic() - self._start, 1e-3) * 60
        count = f"{self._done}/{self._cases.photo_count} photos"
        self._bar.update(
            self._bar.task_ids[0],
            description=description[:12],
            completed=done - self._resumed,
            total=self._cases.photo_count - self._resumed,
            count=f"{count}, {rate:.1f} per minute" if worked else count,
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


def summary_lines(summary: JobSummary, out: Path) -> list[str]:
    """The end of a job, one fact per line: ``anonymized   7 (3 by an earlier run)``."""
    rows = [("photographs", str(summary.photos))]
    earlier = f" ({summary.resumed} of all by an earlier run)" if summary.resumed else ""
    rows.append(("anonymized", f"{summary.anonymized}{earlier}"))
    for reason, count in sorted(summary.refused.items()):
        rows.append(("refused", f"{count} ({reason})"))
    missing = summary.photos - summary.done
    if missing:
        rows.append(("not done", str(missing)))
    if summary.skipped:
        rows.append(("skipped", f"{summary.skipped} other files or folders"))
    if summary.leftovers:
        rows.append(("removed", f"{summary.leftovers} half-written files of an interrupted run"))
    if summary.others:
        rows.append(
            ("left alone", f"{summary.others} earlier cases in the folder, not of this job")
        )
    worked = summary.done - summary.resumed
    rate = f", {worked / summary.seconds * 60:.1f} photos per minute" if worked else ""
    rows += [("time", f"{summary.seconds:.1f} s{rate}"), ("output", str(out))]
    return [f"{name:<13}{value}" for name, value in rows]
