"""A job: cases in, one output folder out; it can be killed at any moment and run again.

Per case: the output names are taken in the journal, the case is anonymised, each image is written
and then its report, files of an earlier run with other options are removed, and the journal says
"finished". Whatever lies before that last line is done again by the next run, under the same names.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from vera.cases import CaseList, ListedCase
from vera.journal import Entry, Finished, Journal, case_seed, content_digest
from vera.keep import Keep
from vera.output import Naming, OutputNames, locked, remove_outputs
from vera.photo import PIXEL_LIMIT
from vera.report import PhotoReport
from vera.versions import __version__
from vera.write import is_lossy, prepare_folder, remove_leftovers, write_image, write_text

Progress = Callable[[str, float], None]
ImageWriter = Callable[[Path, npt.NDArray[np.uint8]], None]


class ResultLike(Protocol):
    """One photograph, done; see :class:`vera.anonymizer.Result`."""

    @property
    def image(self) -> npt.NDArray[np.uint8] | None:
        """The uint8 [h, w, 3] image, or None if refused."""

    @property
    def report(self) -> PhotoReport:
        """What was done."""


class AnonymizerLike(Protocol):
    """What a job needs of :class:`vera.anonymizer.Anonymizer`."""

    def anonymize(
        self,
        photos: Sequence[Path],
        *,
        keep: Sequence[str],
        seed: int | None,
        faces: Literal["all", "largest"],
        steps: int | None,
        pixel_limit: int,
        progress: Progress | None,
    ) -> Sequence[ResultLike]:
        """Anonymise one case."""


@dataclass(frozen=True, slots=True)
class JobConfig:
    """Everything that decides a job's output besides the photographs.

    Attributes:
        out: Output folder.
        bundle: Digest of the bundle; another bundle means that the photographs are done again.
        seed: The single case's seed, or the one that the cases' seeds are derived from; None draws
            anew.
        faces: Which faces are replaced.
        steps: Upper limit of the inversion's steps; None takes the default.
        pixel_limit: Largest photograph taken, in pixels.
        format: Ending of the images, without the dot.
        names: How outputs are named.
        overwrite: Do finished cases again.
    """

    out: Path
    bundle: str
    seed: int | None = None
    faces: Literal["all", "largest"] = "all"
    steps: int | None = None
    pixel_limit: int = PIXEL_LIMIT
    format: Literal["png", "jpg"] = "png"
    names: Naming = "numbered"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """One case, done.

    Attributes:
        number: Its place in the job, from 1.
        case: As it was listed.
        photos: The verdict on each photograph.
        resumed: Whether an earlier run had finished it.
    """

    number: int
    case: ListedCase
    photos: tuple[Finished, ...]
    resumed: bool


@dataclass(slots=True)
class JobSummary:
    """Counts of photographs, filled in while a job runs.

    Attributes:
        photos: In the whole job.
        anonymized: Written by this run or an earlier one.
        refused: Reasons of refusals and how often.
        resumed: Of all those, how many an earlier run had finished.
        skipped: Entries of the folder that are no photographs.
        leftovers: Half-written files of a killed run that were removed.
        others: Cases in the output folder that are not part of this job.
        seconds: How long this run took.
    """

    photos: int = 0
    anonymized: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    skipped: int = 0
    leftovers: int = 0
    others: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Photographs with a verdict."""
        return self.anonymized + self.refused.total()

    def count(self, outcome: CaseOutcome) -> None:
        """Add one case."""
        for photo in outcome.photos:
            if photo.verdict == "anonymized":
                self.anonymized += 1
            else:
                self.refused[photo.reason or "unknown"] += 1
        self.resumed += len(outcome.photos) if outcome.resumed else 0


def run_job(
    anonymizer: AnonymizerLike,
    cases: CaseList,
    config: JobConfig,
    *,
    summary: JobSummary | None = None,
    finished: Callable[[CaseOutcome], None] | None = None,
    progress: Progress | None = None,
    write: ImageWriter = write_image,
) -> JobSummary:
    """Anonymise all cases that the output folder does not hold yet.

    Args:
        anonymizer: Does one case.
        cases: What is to be done.
        config: How.
        summary: Is filled in, so that the caller has the counts after an interruption.
        finished: Called after each case.
        progress: Passed to the anonymizer.
        write: Writes one image, whole or not at all.

    Raises:
        OutputError: A result or the journal cannot be written, or another job works in the folder.
        What was
            finished before is intact.
        EngineError: An engine failed.
    """
    summary = summary or JobSummary()
    summary.photos, summary.skipped = cases.photo_count, cases.skipped
    start = time.monotonic()
    prepare_folder(config.out)
    with locked(config.out):
        journal = Journal.open(config.out)
        summary.leftovers = remove_leftovers(config.out)
        names = OutputNames(config.out, config.names, journal.stems())
        job = _Job(anonymizer, config, journal, names, write)
        seen: Counter[tuple[bytes, ...]] = Counter()
        known = []
        try:
            for number, case in enumerate(cases.cases, 1):
                outcome, key = job.do(case, number, cases.nested, seen, progress)
                known.append(key)
                summary.count(outcome)
                if finished is not None:
                    finished(outcome)
        finally:
            summary.seconds = time.monotonic() - start
        summary.others = journal.others(known)
    return summary


@dataclass(frozen=True, slots=True)
class _Job:
    anonymizer: AnonymizerLike
    config: JobConfig
    journal: Journal
    names: OutputNames
    write: ImageWriter

    def do(
        self,
        case: ListedCase,
        number: int,
        nested: bool,
        seen: Counter[tuple[bytes, ...]],
        progress: Progress | None,
    ) -> tuple[CaseOutcome, str]:
        """Do or resume one case; also returns its key in the journal."""
        contents = tuple(content_digest(photo) or b"" for photo in case.photos)
        # Two cases of the same photographs are two cases: the second one is not "finished" by the
        # first.
        seen[contents] += 1
        key = self.journal.digest(*contents, b"%d" % seen[contents])
        options = self.journal.digest(self._options(case, nested).encode())
        earlier = self.journal.find(key)
        if earlier and earlier.options == options and self._complete(earlier):
            return CaseOutcome(number, case, earlier.photos or (), True), key
        if earlier and earlier.names == self.config.names:
            stems = earlier.stems
        else:
            stems = self.names.take(case, number, nested)
        self.journal.add(Entry(key, options, self.config.names, stems))
        stale = self.journal.stems_of(key)
        seed = self.config.seed
        if nested and seed is not None:
            seed = case_seed(seed, contents)
        photos = self._anonymize(case, stems, seed, stale, progress)
        if b"" not in contents:  # a file that could not be read may be readable next time
            self.journal.add(Entry(key, options, self.config.names, stems, photos))
        return CaseOutcome(number, case, photos, False), key

    def _options(self, case: ListedCase, nested: bool) -> str:
        config = self.config
        masks = [Keep.parse(keep).mask for keep in case.keep]
        kept = [
            keep if mask is None else (content_digest(mask) or b"").hex()
            for keep, mask in zip(case.keep, masks, strict=True)
        ]
        chosen = (config.seed, config.faces, config.steps, config.pixel_limit, config.format)
        return json.dumps([kept, config.bundle, config.names, *chosen, nested, __version__])

    def _complete(self, entry: Entry) -> bool:
        if entry.photos is None or self.config.overwrite:
            return False
        return all(
            self._path(stem, "json").exists()
            and (photo.verdict == "refused" or self._path(stem, self.config.format).exists())
            for stem, photo in zip(entry.stems, entry.photos, strict=True)
        )

    def _path(self, stem: str, ending: str) -> Path:
        return self.config.out / f"{stem}.{ending}"

    def _anonymize(
        self,
        case: ListedCase,
        stems: tuple[str, ...],
        seed: int | None,
        stale: Iterable[str],
        progress: Progress | None,
    ) -> tuple[Finished, ...]:
        config = self.config
        results = self.anonymizer.anonymize(
            case.photos,
            keep=list(case.keep),
            seed=seed,
            faces=config.faces,
            steps=config.steps,
            pixel_limit=config.pixel_limit,
            progress=progress,
        )
        written: set[Path] = set()
        folder = self._path(stems[0], "json").parent
        if folder != config.out:
            prepare_folder(folder)
            remove_leftovers(folder)
        for stem, result in zip(stems, results, strict=True):
            written |= self._write(stem, result)
        remove_outputs(config.out, stale, written)
        return tuple(Finished(r.report.verdict, r.report.reason, r.report.message) for r in results)

    def _write(self, stem: str, result: ResultLike) -> set[Path]:
        """Image first: a report without its image would claim more than there is."""
        report, image = self._path(stem, "json"), self._path(stem, self.config.format)
        if result.image is None or result.report.verdict != "anonymized":
            remove_outputs(self.config.out, [stem], set())
            write_text(report, result.report.to_json() + "\n")
            return {report}
        self.write(image, result.image)
        write_text(report, result.report.as_written(lossy=is_lossy(image)).to_json() + "\n")
        return {image, report}
