"""A report rebuilt from its JSON."""

from collections.abc import Callable, Mapping
from typing import Any

from vera.errors import ServerError
from vera.report import (
    AttributeChange,
    BundleReport,
    CoverageReport,
    FaceReport,
    InversionReport,
    JudgeReport,
    KeptReport,
    PhotoReport,
    SeamReport,
)

_Build = Callable[[Any], Any]


def report_of(told: Mapping[str, Any]) -> PhotoReport:
    """The report that ``PhotoReport.to_json`` wrote; equal to it field by field.

    Fields that this version does not know are left out: a later server may tell more.

    Args:
        told: The parsed JSON.

    Raises:
        ServerError: It is none of this version.
    """
    try:
        report: PhotoReport = _built(
            PhotoReport,
            told,
            bundle=lambda b: _built(BundleReport, b),
            kept=lambda k: _built(KeptReport, k, outline=_tuples),
            faces=lambda faces: tuple(map(_face, faces)),
            settings=lambda s: {name: _tuples(value) for name, value in s.items()},
            inversion=lambda i: _built(InversionReport, i),
            keep=_tuples,
            pair_cosines=_tuples,
            pair_cosines_generated=_tuples,
            variant_cosines=_tuples,
            warnings=_tuples,
        )
    except (TypeError, AttributeError) as error:
        raise ServerError(
            "The report of the server is of another version; update the older of client and server."
        ) from error
    return report


def _face(told: Mapping[str, Any]) -> FaceReport:
    face: FaceReport = _built(
        FaceReport,
        told,
        box=_tuples,
        judges=lambda judges: tuple(_built(JudgeReport, judge) for judge in judges),
        coverage=lambda c: _built(CoverageReport, c),
        seam=lambda s: _built(SeamReport, s),
        change=lambda c: _built(AttributeChange, c),
    )
    return face


def _built(kind: type[Any], told: Mapping[str, Any], **parts: _Build) -> Any:
    """An instance of the dataclass ``kind``, ``parts`` built by their functions unless null."""
    return kind(
        **{
            name: parts[name](value) if name in parts and value is not None else value
            for name, value in told.items()
            if name in kind.__dataclass_fields__
        }
    )


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were, at every depth."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
