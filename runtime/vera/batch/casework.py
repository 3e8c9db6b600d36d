"""One case of a job, from photographs to files: what the job's own process or a worker does."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from vera import errors
from vera.batch.journal import Finished
from vera.batch.output import remove_outputs
from vera.batch.persons import Embeddings, rounded, too_close
from vera.errors import EngineError, UsageError, VeraError
from vera.files.write import is_lossy, prepare_folder, remove_leftovers, write_image, write_text
from vera.key import CaseKey
from vera.report import BundleReport, PhotoReport
from vera.request.keep import Keep
from vera.settings import Settings
from vera.versions import __version__

Progress = Callable[[str, float], None]
ImageWriter = Callable[[Path, npt.NDArray[np.uint8]], None]

# The anonymizer compares people as they are, a job compares them rounded to float16.
_ROUNDING = 1e-3

# Errors that a job tells apart; all others are an engine's to it.
_KEPT = (errors.UsageError, errors.OutputError, errors.BundleError, errors.ServerError)

FAILED = "failed"  # the reason of a case that VerA could not do; the next run tries it again


class ResultLike(Protocol):
    """One photograph, done; see :class:`vera.anonymizer.Result`."""

    @property
    def image(self) -> npt.NDArray[np.uint8] | None:
        """The uint8 [h, w, 3] image, or None if refused."""

    @property
    def report(self) -> PhotoReport:
        """What was done."""

    @property
    def person(self) -> npt.NDArray[np.float32] | None:
        """Embedding float32 [e] of the new person in a neutral view, or None if refused."""


class AnonymizerLike(Protocol):
    """What a job needs of :class:`vera.anonymizer.Anonymizer`."""

    @property
    def anonymize(self) -> Callable[..., Sequence[ResultLike]]:
        """Anonymise one case.

        Called with the photographs and, by name, ``keep``, ``seed``, ``key``, ``distinct_from``,
        ``progress`` and the settings of :meth:`vera.settings.Settings.options`. It takes all that a
        caller leaves out from its own defaults.
        """


@dataclass(frozen=True, slots=True)
class Distinct:
    """That no two cases share a new person.

    Attributes:
        limit: Largest cosine at which two people count as different.
        others: People of other cases to stay away from, float32 [m, e]; None while they are not
            known, which is the first attempt.
    """

    limit: float
    others: Embeddings | None = None


@dataclass(frozen=True, slots=True)
class CaseTask:
    """Everything that one case needs; can be sent to another process.

    Attributes:
        photos: Its files.
        keep: One value of ``--keep`` per photograph.
        out: The output folder.
        stems: Output names without ending, one per photograph, for each identity in turn.
        format: Ending of the images, without the dot.
        settings: How.
        networks: The bundle, for the report of a case that failed.
        seed: The case's seed; None draws a new one.
        key: Takes the seed's place.
        distinct: Whether the new person is to be told, and what it must differ from.
    """

    photos: tuple[Path, ...]
    keep: tuple[str, ...]
    out: Path
    stems: tuple[str, ...]
    format: Literal["png", "jpg"]
    settings: Settings
    networks: BundleReport
    seed: int | None = None
    key: CaseKey | None = None
    distinct: Distinct | None = None


@dataclass(frozen=True, slots=True)
class CaseDone:
    """What became of a case.

    Attributes:
        photos: The verdict on each output.
        written: The files.
        milliseconds: Time per stage, of each output that has any.
        seconds: Of the whole case.
        persons: The new people, float32 [v, e]; None if refused or not asked for.
    """

    photos: tuple[Finished, ...]
    written: frozenset[Path]
    milliseconds: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0
    persons: Embeddings | None = None


@dataclass(frozen=True, slots=True)
class CaseFailure:
    """That a case could not be done; text alone, since not every exception can be sent.

    Attributes:
        message: A sentence.
        kind: Name of the exception's class in :mod:`vera.errors`, or of another's own.
        trace: Its traceback, which may name files.
    """

    message: str
    kind: str = EngineError.__name__
    trace: str = field(default="", repr=False)

    @classmethod
    def of(cls, error: Exception, task: CaseTask) -> "CaseFailure":
        """Tell what happened to a task, without naming its files.

        A message that is not ours may name anything and is left out.
        """
        kinds = type(error).__mro__
        public = (kind.__name__ for kind in kinds if kind.__module__ == errors.__name__)
        kind = next(public, type(error).__name__)
        if isinstance(error, VeraError):
            message = _nameless(str(error), task)
        elif isinstance(error, MemoryError):
            message = (
                "There was not enough memory for this case; close other programs, use fewer "
                "--workers or smaller photographs."
            )
        else:
            message = f"unexpected {kind}; run again with --debug and report what it prints."
        return cls(message, kind, "".join(traceback.format_exception(error)))

    def error(self) -> VeraError:
        """The failure as an exception of :mod:`vera.errors`, caused by the traceback as text."""
        kind = getattr(errors, self.kind, EngineError)
        error: VeraError = kind(self.message) if kind in _KEPT else EngineError(self.message)
        error.__cause__ = _Trace(self.trace)
        return error


class _Trace(Exception):
    """A traceback of another place, shown with ``--debug``."""


def do_case(
    anonymizer: AnonymizerLike,
    task: CaseTask,
    *,
    progress: Progress | None = None,
    write: ImageWriter = write_image,
) -> CaseDone:
    """Anonymise a case and write its images and reports.

    Args:
        anonymizer: Does the work.
        task: What is to be done.
        progress: Passed to the anonymizer.
        write: Writes one image, whole or not at all.

    Raises:
        VeraError: The case could not be done, or not be written.
    """
    start = time.monotonic()
    results = anonymizer.anonymize(
        task.photos,
        keep=list(task.keep),
        seed=task.seed,
        key=task.key,
        distinct_from=None if task.distinct is None else task.distinct.others,
        progress=progress,
        **task.settings.options(),
    )
    persons = None if task.distinct is None else _persons(results, len(task.photos))
    reports = [result.report for result in results]
    if task.distinct is not None and persons is not None and _shared(task.distinct, persons):
        reports = [_not_distinct(report) for report in reports]
        persons = None
    prepare_case_folder(task)
    written: set[Path] = set()
    for stem, result, report in zip(task.stems, results, reports, strict=True):
        written |= _write(task, stem, result, report, write)
    return CaseDone(
        tuple(Finished(report.verdict, report.reason, report.message) for report in reports),
        frozenset(written),
        tuple(dict(report.milliseconds) for report in reports if report.milliseconds),
        time.monotonic() - start,
        persons,
    )


def write_failure(task: CaseTask, failure: CaseFailure) -> CaseDone:
    """Leave reports that say "failed" and no image.

    Raises:
        OutputError: They cannot be written.
    """
    report = PhotoReport(
        "refused",
        "paired" if len(task.photos) > 1 else "single",
        task.seed or 0,
        task.networks,
        FAILED,
        failure.message,
        variants=task.settings.variants,
        settings=task.settings.options(),
        versions={"vera": __version__},
    )
    prepare_case_folder(task)
    remove_outputs(task.out, task.stems, set())
    paths = [task.out / f"{stem}.json" for stem in task.stems]
    for place, path in enumerate(paths):
        variant, photo = divmod(place, len(task.photos))
        told = replace(report, photo=photo + 1, variant=variant + 1)
        write_text(path, told.to_json() + "\n")
    photos = tuple(Finished("refused", FAILED, failure.message) for _ in paths)
    return CaseDone(photos, frozenset(paths))


def _nameless(message: str, task: CaseTask) -> str:
    """The message without names of files, which often are a patient's: it goes into the report."""
    masks = [keep for keep in task.keep if _may_be_file(keep)]
    names = [*map(str, task.photos), *masks, *(str(Path(mask)) for mask in masks)]
    for name in names:
        for spelling in (name, name.lower()):  # names of regions are read in lower case
            message = message.replace(f"'{spelling}'", "a file of this case")
    return message


def _may_be_file(keep: str) -> bool:
    try:
        return Keep.parse(keep).mask is not None
    except UsageError:  # a mask that was there when the cases were listed
        return True


def prepare_case_folder(task: CaseTask) -> None:
    """Make the case's folder, and clear it of what a killed process left half-written.

    Raises:
        OutputError: It cannot be written.
    """
    folder = (task.out / task.stems[0]).parent
    if folder != task.out:
        prepare_folder(folder)
        remove_leftovers(folder)


def _persons(results: Sequence[ResultLike], photos: int) -> Embeddings | None:
    """The new person of each identity, as far as there is one: float32 [v, e]."""
    found = []
    for first in range(0, len(results), photos):
        people = [result.person for result in results[first : first + photos]]
        found += [person for person in people if person is not None][:1]
    return rounded(found) if found else None


def _shared(distinct: Distinct, persons: Embeddings) -> bool:
    others = distinct.others
    return others is not None and too_close(persons, others, distinct.limit + _ROUNDING)


def _not_distinct(report: PhotoReport) -> PhotoReport:
    if report.verdict == "refused":
        return report
    message = (
        "No new person was found who differs enough from those of the other cases; raise "
        "--separation or leave --distinct out."
    )
    return replace(report, verdict="refused", reason="not-distinct", message=message)


def _write(
    task: CaseTask, stem: str, result: ResultLike, report: PhotoReport, write: ImageWriter
) -> set[Path]:
    """Image first: a report without its image would claim more than there is.

    What an earlier run with other options left goes before that: its report, beside the new image,
    would claim what was never checked.
    """
    told, image = task.out / f"{stem}.json", task.out / f"{stem}.{task.format}"
    if result.image is None or report.verdict != "anonymized":
        remove_outputs(task.out, [stem], set())
        write_text(told, report.to_json() + "\n")
        return {told}
    remove_outputs(task.out, [stem], {image})
    write(image, result.image)
    write_text(told, report.as_written(lossy=is_lossy(image)).to_json() + "\n")
    return {image, told}
