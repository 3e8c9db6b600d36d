"""Reports of photographs with every field filled, and output folders of them, without a job."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

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
from vera.settings import Settings

# A kept square of a picture of 60 x 80 pixels: rows 40 to 59, columns 20 to 39.
SIZE = (80, 60)
OUTLINE = (((20, 40), (39, 40), (39, 59), (20, 59)),)


def full_report(**changes: object) -> PhotoReport:
    """An anonymised photograph whose report leaves nothing out."""
    face = FaceReport(
        box=(30, 40),
        eye_distance_px=12.5,
        identity_cosine=0.21,
        threshold=0.45,
        draws=2,
        patient=True,
        limit=0.42,
        judges=(JudgeReport("second opinion", "0123456789ab", 0.11, 0.3),),
        coverage=CoverageReport(1000, 2, 0.002),
        seam=SeamReport(0.4, 2.5, 120),
        change=AttributeChange(0.0, 5.0, 0.0, 0.07, 0.1, 5.0, 2.1),
    )
    report = PhotoReport(
        verdict="anonymized",
        mode="paired",
        seed=2**63 - 1,
        bundle=BundleReport("default", "1", {"parser": "0123456789ab"}),
        keep=("mouth",),
        kept=KeptReport(400, 0, False, 0.07, OUTLINE),
        faces=(face,),
        pair_cosines=(0.8,),
        pair_cosines_generated=(0.6,),
        photo=2,
        variant=1,
        variants=2,
        variant_cosines=(0.1,),
        identity="0f" * 8,
        settings=Settings().options(),
        versions={"vera": "9"},
        milliseconds={"find": 12.5},
        inversion=InversionReport(20, 0.5, 0.1),
        warnings=("The identity is close to the limit.",),
    )
    return dataclasses.replace(report, **changes)


def refused_report(**changes: object) -> PhotoReport:
    """A photograph without a face."""
    refused = PhotoReport(
        verdict="refused",
        mode="single",
        seed=1,
        bundle=BundleReport("default", "1", {}),
        reason="no-face",
        message="No face was found.",
    )
    return dataclasses.replace(refused, **changes)


def picture(seed: int = 0) -> np.ndarray:
    """Noise, uint8 [80, 60, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def write_output(
    out: Path, name: str, report: PhotoReport, image: np.ndarray | None = None, ending: str = "png"
) -> Path:
    """One report, and its image if there is one; returns the report's path."""
    path = out / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.to_json(), "utf-8")
    if image is not None:
        Image.fromarray(image).save(path.with_suffix(f".{ending}"))
    return path


def write_outputs(out: Path) -> Path:
    """Two cases: a pair, and a refused photograph."""
    write_output(out, "case_0001/anon_1", full_report(photo=1), picture(1))
    write_output(out, "case_0001/anon_2", full_report(photo=2), picture(2))
    write_output(out, "case_0002/anon_1", refused_report())
    return out
