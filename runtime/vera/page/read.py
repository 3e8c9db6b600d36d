"""What lies in an output folder: reports, their images, and what is wrong with either."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from vera.errors import UsageError

IMAGE_SUFFIXES = (".png", ".jpg")
_SCHEMA = "report.schema.json"

# The job's own files beside the reports: its log, and half-written files of a killed run.
_NOT_REPORTS = ("vera-", ".vera-")


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
        if path.suffix in suffixes and not path.name.startswith(_NOT_REPORTS) and path.is_file()
    }


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

    def case(output: Output) -> tuple[object, ...]:
        folder = PurePosixPath(output.name).parent.as_posix()
        if folder != ".":
            return (folder,)
        report = output.report
        several = report["mode"] == "paired" or report["variants"] > 1
        return (folder, report["seed"] if several else output.name)

    ordered = sorted(outputs, key=lambda output: _natural(output.name))
    found: list[OutputCase] = []
    for key, members in groupby(ordered, key=case):
        group = tuple(members)
        found.append(OutputCase(str(key[0]) if len(key) == 1 else group[0].name, group))
    return tuple(found)
