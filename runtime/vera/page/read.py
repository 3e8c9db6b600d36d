"""What lies in an output folder: reports, their images, and what is wrong with either."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from vera.batch.journal import JOURNAL_NAME
from vera.batch.output import LOG_NAME
from vera.errors import UsageError

IMAGE_SUFFIXES = (".png", ".jpg")
_SCHEMA = "report.schema.json"

# The job's own files, in the output folder itself, and half-written ones of a killed run, anywhere.
_OF_THE_JOB = (LOG_NAME, JOURNAL_NAME)
_HALF_WRITTEN = ".vera-"


@dataclass(frozen=True, slots=True)
class Output:
    """One report with its image.

    Attributes:
        name: Path in the output folder without ending, with ``/``.
        report: Valid by the schema of reports.
        image: None for a refused photograph, or if the file is missing.
    """

    name: str
    report: Mapping[str, Any]
    image: Path | None

    @property
    def anonymized(self) -> bool:
        """Whether the verdict says so."""
        return bool(self.report["verdict"] == "anonymized")


@dataclass(frozen=True, slots=True)
class OutputCase:
    """Outputs that belong together; ``name`` is their folder, or the first output's name."""

    name: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the folder that should not be so: the output's name, and a sentence."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """All that was found.

    Attributes:
        folder: Where.
        cases: In the natural order of their names.
        faults: In the order of the names, too.
    """

    folder: Path
    cases: tuple[OutputCase, ...]
    faults: tuple[Fault, ...]

    @property
    def outputs(self) -> Iterator[Output]:
        """The outputs of all cases."""
        return (output for case in self.cases for output in case.outputs)


def schema_text() -> str:
    """The JSON Schema (2020-12) of a report, as JSON text."""
    return resources.files("vera.page").joinpath(_SCHEMA).read_text("utf-8")


def missing_extra(error: ImportError) -> UsageError:
    """The sentence on a library of the extra ``report`` that is not installed."""
    return UsageError(
        f"Reports and rating sheets need the library {error.name}, which is not installed; "
        'pip install "vera[report]".'
    )


def read_outputs(folder: Path) -> OutputFolder:
    """Read all reports below ``folder`` and find the image of each.

    Args:
        folder: An output folder of ``vera anonymize``.

    Raises:
        UsageError: It is no folder, holds no report, or the extra ``report`` is not installed.
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is no folder; name the output folder of vera anonymize.")
    outputs: list[Output] = []
    faults: list[Fault] = []
    images = _found(folder, IMAGE_SUFFIXES)
    for name, path in sorted(
        _found(folder, (".json",)).items(), key=lambda item: _natural(item[0])
    ):
        image = images.pop(name, None)
        try:
            report = _parsed(path)
        except ValueError as error:
            faults.append(Fault(name, str(error)))
            continue
        output = Output(name, report, image if report["verdict"] == "anonymized" else None)
        outputs.append(output)
        if output.anonymized and image is None:
            faults.append(Fault(name, "The report says anonymized, but its image is missing."))
        elif not output.anonymized and image is not None:
            faults.append(
                Fault(name, "The report says refused, but an image of its name lies beside it.")
            )
    faults += [Fault(name, "An image without a report.") for name in sorted(images, key=_natural)]
    if not outputs and not faults:
        raise UsageError(f"'{folder}' holds no report; name the output folder of vera anonymize.")
    return OutputFolder(folder, _grouped(outputs), tuple(faults))


def _found(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by name without ending."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in suffixes and not _own(path, folder) and path.is_file()
    }


def _own(path: Path, folder: Path) -> bool:
    own = path.parent == folder and path.name in _OF_THE_JOB
    return own or path.name.startswith(_HALF_WRITTEN)


def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """Sorts ``anon_10`` behind ``anon_9``."""
    return tuple(
        (text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name.lower())
    )


@cache
def _validator() -> Any:
    try:
        from jsonschema import Draft202012Validator
    except ImportError as error:
        raise missing_extra(error) from error
    return Draft202012Validator(json.loads(schema_text()))


def _parsed(path: Path) -> Mapping[str, Any]:
    """A report.

    Raises:
        ValueError: What is wrong with it, as a sentence that repeats nothing of the file.
    """
    try:
        report = json.loads(path.read_text("utf-8"), parse_constant=_not_json)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError("The report cannot be read as JSON.") from error
    wrong = next(_validator().iter_errors(report), None)
    if wrong is not None:
        raise ValueError(f"Not a report of this version of VerA (see {wrong.json_path}).")
    return dict(report)


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _grouped(outputs: list[Output]) -> tuple[OutputCase, ...]:
    """A folder is a case; directly in the output folder, what one call made belongs together."""
    folders: dict[str, list[Output]] = {}
    calls: dict[tuple[object, ...], list[_Call]] = {}
    found: list[tuple[str, list[Output]]] = []
    for output in sorted(outputs, key=lambda output: _natural(output.name)):
        folder = PurePosixPath(output.name).parent.as_posix()
        if folder != ".":
            if folder not in folders:
                found.append((folder, folders.setdefault(folder, [])))
            folders[folder].append(output)
            continue
        report = output.report
        # With a case key all seeds are 0, and a seed may be given twice.
        similar = calls.setdefault((report["seed"], report["mode"], report["variants"]), [])
        call = next((call for call in reversed(similar) if call.takes(output)), None)
        if call is None:
            call = _Call()
            similar.append(call)
            found.append((output.name, call.outputs))
        call.outputs.append(output)
    return tuple(OutputCase(name, tuple(members)) for name, members in found)


@dataclass(slots=True)
class _Call:
    """Loose outputs that one call may have made."""

    outputs: list[Output] = field(default_factory=list)

    def takes(self, output: Output) -> bool:
        """Whether this may be one more: another photograph or variant, of the same person."""
        new = output.report
        for report in (other.report for other in self.outputs):
            if report["variant"] != new["variant"]:
                continue
            identities = {report["identity"], new["identity"]} - {None}
            if report["photo"] == new["photo"] or len(identities) > 1:
                return False
        return True
