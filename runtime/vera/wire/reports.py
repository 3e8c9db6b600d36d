"""A report rebuilt from its JSON."""

from collections.abc import Mapping
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
from vera.wire.built import built


def report_of(told: Mapping[str, Any]) -> PhotoReport:
    """The report that ``PhotoReport.to_json`` wrote; equal to it field by field.

    Fields that this version does not know are left out: a later server may tell more.

    Args:
        told: The parsed JSON.

    Raises:
        ServerError: It is none of this version.
    """
    try:
        report: PhotoReport = built(
            PhotoReport,
            told,
            bundle=lambda b: built(BundleReport, b),
            kept=lambda k: built(KeptReport, k, outline=_tuples),
            faces=lambda faces: tuple(map(_face, faces)),
            settings=lambda s: {name: _tuples(value) for name, value in s.items()},
            inversion=lambda i: built(InversionReport, i),
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
    face: FaceReport = built(
        FaceReport,
        told,
        box=_tuples,
        judges=lambda judges: tuple(built(JudgeReport, judge) for judge in judges),
        coverage=lambda c: built(CoverageReport, c),
        seam=lambda s: built(SeamReport, s),
        change=lambda c: built(AttributeChange, c),
    )
    return face


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were, at every depth."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
