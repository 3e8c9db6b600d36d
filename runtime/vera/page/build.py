"""Writing the page: case after case, so that a thousand photographs need the memory of one."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from vera.errors import OutputError
from vera.files.write import write_parts
from vera.page.originals import NONE, Originals
from vera.page.pictures import Picture, embed
from vera.page.plot import distances
from vera.page.read import Output, OutputFolder, missing_extra
from vera.page.summary import Summary, summarise
from vera.versions import __version__

SIDE = 640
_MARKER = "VerA report page"
_MARKER_WITHIN_BYTES = 1024
_PUBLIC, _PRIVATE = 0o666, 0o600


@dataclass(frozen=True, slots=True)
class _Photo:
    """One photograph as the template shows it; ``place`` is that of its dot in the plot."""

    place: int
    output: Output
    picture: Picture | None
    original: Picture | None

    @property
    def fault(self) -> str | None:
        if self.picture is not None or not self.output.anonymized:
            return None
        return "The image of this report is missing or cannot be read."


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    photos: tuple[_Photo, ...]


def write_page(
    folder: OutputFolder,
    path: Path,
    *,
    title: str = "VerA report",
    side: int = SIDE,
    originals: Originals | None = None,
) -> int:
    """Write all that was found in an output folder as one HTML file.

    Args:
        folder: What is shown.
        path: Is replaced if it is such a page. With originals, only its owner may read it.
        title: Heading of the page.
        side: Longest side of the pictures in the page, in pixels.
        originals: Photographs of patients to be shown beside the outputs; None shows none.

    Returns:
        Bytes of the page.

    Raises:
        OutputError: The file cannot be written, or is there and no page of VerA.
        UsageError: The extra ``report`` is not installed.
    """
    _refuse_other_files(path)
    summary = summarise(folder)
    parts = (
        environment("vera.page")
        .get_template("page.html")
        .generate(
            marker=_MARKER,
            title=title,
            version=__version__,
            summary=summary,
            faults=folder.faults,
            plot=_trusted(distances(folder)),
            filters=_filters(summary),
            with_originals=originals is not None,
            originals_found=len(originals.by_output) if originals else 0,
            originals_unmatched=originals.unmatched if originals else 0,
            cases=_cases(folder, originals or NONE, side),
        )
    )
    write_parts(path, parts, mode=_PUBLIC if originals is None else _PRIVATE)
    return path.stat().st_size


def environment(package: str) -> Any:
    """Jinja with the ``templates`` of a package; everything put into them is escaped.

    Raises:
        UsageError: The extra ``report`` is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise missing_extra(error) from error
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _trusted(svg: str | None) -> Any:
    """The plot is markup; the names in it were escaped when it was drawn."""
    from markupsafe import Markup

    return None if svg is None else Markup(svg)


def _refuse_other_files(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(_MARKER_WITHIN_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be replaced ({error.strerror}); choose another --html."
        ) from error
    if _MARKER.encode() not in start:
        raise OutputError(f"'{path}' is no report page of VerA; choose another --html.")


def _cases(folder: OutputFolder, originals: Originals, side: int) -> Iterator[_Case]:
    places = count(1)
    for case in folder.cases:
        photos = tuple(
            _Photo(
                next(places),
                output,
                embed(output.image, side),
                embed(originals.by_output.get(output.name), side),
            )
            for output in case.outputs
        )
        yield _Case(case.name, photos)


def _filters(summary: Summary) -> list[tuple[str, str, list[str]]]:
    """Name, label and values of each choice of the page."""
    return [
        ("verdict", "verdict", ["anonymized", "refused"]),
        ("reason", "reason", list(summary.reasons)),
        ("mode", "mode", list(summary.modes)),
        ("keep", "kept", list(summary.kept)),
    ]
