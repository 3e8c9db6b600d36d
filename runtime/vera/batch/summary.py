"""What became of a job: each case as it is finished, and the counts at the end."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vera.batch.cases import ListedCase
from vera.batch.casework import FAILED, CaseFailure
from vera.batch.journal import Finished


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """One case, done.

    Attributes:
        number: Its place in the job, from 1.
        case: As it was listed.
        photos: The verdict on each output: on each photograph for each new identity in turn.
        stems: The outputs' names without ending, relative to the output folder.
        resumed: Whether an earlier run had finished it.
        seconds: Of this run.
        milliseconds: Time per stage, of each output that has any.
        failure: Why it could not be done; it counts as refused, and the next run tries it again.
    """

    number: int
    case: ListedCase
    photos: tuple[Finished, ...]
    stems: tuple[str, ...]
    resumed: bool = False
    seconds: float = 0.0
    milliseconds: tuple[Mapping[str, float], ...] = ()
    failure: CaseFailure | None = None


@dataclass(slots=True)
class JobSummary:
    """Counts, filled in while a job runs.

    Attributes:
        photos: Photographs in the whole job.
        done: Of these, with a verdict.
        resumed: Of all those, how many an earlier run had finished.
        variants: New identities of each case; each photograph has as many outputs.
        anonymized: Outputs written by this run or an earlier one.
        refused: Reasons of refused outputs and how often.
        failed: Cases of which something could not be done and will be tried again.
        skipped: Entries of the folder that are no photographs.
        leftovers: Half-written files of a killed run that were removed.
        others: Cases in the output folder that are not part of this job.
        seconds: How long this run took.
        stages: Milliseconds of each stage, one value for each output of this run.
    """

    photos: int = 0
    done: int = 0
    resumed: int = 0
    variants: int = 1
    anonymized: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    skipped: int = 0
    leftovers: int = 0
    others: int = 0
    seconds: float = 0.0
    stages: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def count(self, outcome: CaseOutcome) -> None:
        """Add one case."""
        for photo in outcome.photos:
            if photo.verdict == "anonymized":
                self.anonymized += 1
            else:
                self.refused[photo.reason or "unknown"] += 1
        photos = len(outcome.case.photos)
        self.done += photos
        self.resumed += photos if outcome.resumed else 0
        self.failed += any(photo.reason == FAILED for photo in outcome.photos)
        for times in outcome.milliseconds:
            for stage, time in times.items():
                self.stages[stage].append(time)

    def stage_medians(self) -> dict[str, float]:
        """Median milliseconds of each stage, in the order in which they were met."""
        return {name: round(statistics.median(times), 1) for name, times in self.stages.items()}


def summary_lines(summary: JobSummary, out: Path) -> list[str]:
    """The end of a job, one fact per line: ``anonymized   7 (3 by an earlier run)``."""
    several = f", {summary.variants} new identities each" if summary.variants > 1 else ""
    rows = [("photographs", f"{summary.photos}{several}")]
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
    rows.append(("time", f"{summary.seconds:.1f} s{rate}"))
    medians = summary.stage_medians()
    if medians:
        stages = ", ".join(f"{name} {time:.0f}" for name, time in medians.items())
        rows.append(("median ms", stages))
    rows.append(("output", str(out)))
    return [f"{name:<13}{value}" for name, value in rows]
