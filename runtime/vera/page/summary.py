"""An output folder in numbers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from vera.page.read import Output, OutputFolder


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of photographs unless said otherwise.

    Attributes:
        photos: Reports that could be read.
        cases: How many cases they make.
        anonymized: By the report.
        refused: By the report.
        reasons: Of the refusals.
        modes: Single or paired.
        kept: What was kept, ``"none"`` for nothing.
        close: With a face whose cosine lies in the warning band.
        warned: With a warning.
        lossy: Whose file's codec changed kept pixels.
        pixels_compared: Kept pixels compared with the originals, in all photographs together.
        max_difference: Largest difference over them, in grey levels of 255.
        versions: VerA's, and the bundles', as they are named in the reports.
    """

    photos: int
    cases: int
    anonymized: int
    refused: int
    reasons: Counter[str]
    modes: Counter[str]
    kept: Counter[str]
    close: int
    warned: int
    lossy: int
    pixels_compared: int
    max_difference: int
    versions: tuple[str, ...]


def summarise(folder: OutputFolder) -> Summary:
    """Count what the reports say."""
    outputs = list(folder.outputs)
    reports = [output.report for output in outputs]
    anonymized = sum(output.anonymized for output in outputs)
    return Summary(
        photos=len(outputs),
        cases=len(folder.cases),
        anonymized=anonymized,
        refused=len(outputs) - anonymized,
        reasons=Counter(sorted(r["reason"] for r in reports if r["reason"])),
        modes=Counter(sorted(r["mode"] for r in reports)),
        kept=Counter(sorted(name for r in reports for name in r["keep"] or ("none",))),
        close=sum(any(face["band"] == "close" for face in r["faces"]) for r in reports),
        warned=sum(bool(r["warnings"]) for r in reports),
        lossy=sum(r["kept"]["lossy"] and r["kept"]["pixels_compared"] > 0 for r in reports),
        pixels_compared=sum(r["kept"]["pixels_compared"] for r in reports),
        max_difference=max((r["kept"]["max_difference"] for r in reports), default=0),
        versions=tuple(dict.fromkeys(version for r in reports for version in _versions(r))),
    )


def _versions(report: Any) -> tuple[str, ...]:
    bundle = report["bundle"]
    return (
        f"VerA {report['versions'].get('vera', 'of unknown version')}",
        f"bundle {bundle['name']} {bundle['version']}",
    )


def nearest(output: Output, judge: str | None = None) -> tuple[float, float] | None:
    """Cosine and limit of the face that comes nearest to its limit (a judge's is its threshold).

    Args:
        output: A photograph.
        judge: Name of a recogniser of the user's; None asks VerA's own embedder.

    Returns:
        None if no face was measured.
    """
    measured = [
        (told["cosine" if judge else "identity_cosine"], told["threshold" if judge else "limit"])
        for face in output.report["faces"]
        for told in (face["judges"] if judge else [face])
        if judge is None or told["name"] == judge
    ]
    return max(measured, key=lambda pair: pair[0] - pair[1], default=None)


def judges(folder: OutputFolder) -> tuple[str, ...]:
    """Names of all recognisers that were asked."""
    return tuple(
        dict.fromkeys(
            judge["name"]
            for output in folder.outputs
            for face in output.report["faces"]
            for judge in face["judges"]
        )
    )
