"""The gate: what must hold before a photograph may be written.

Every replaced face must be found again in the output and be another person there, measured on the
finished photograph; nothing of the original face may be left; every kept pixel must equal the
original.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vera import judge
from vera.engines import Engines, Tensor
from vera.errors import EngineError, RefusedError
from vera.face.detect import Face, same_place
from vera.face.faces import embed
from vera.gate import coverage
from vera.judge import Judge
from vera.region.subject import Subject
from vera.rendering.compose import kept_difference
from vera.rendering.strands import find_strands
from vera.report import Band, CoverageReport, JudgeReport, KeptReport

Image = npt.NDArray[np.uint8]

# A draw passes only this far below the threshold, because the threshold is itself an estimate.
MARGIN = 0.03


# Within this much below the limit the report warns: another recogniser may decide otherwise.
WARNING_BAND = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class FaceCheck:
    """One face of an output.

    Attributes:
        cosine: The larger cosine to the original of the two alignments: with the original's points,
            and with those found in the output.
        found: Whether a face was found in the output where the original's was.
        embedding: float32 [e] of the output face.
        points: float64 [5, 2] found in the output; the original's if no face was found.
        coverage: What of the original face is left; None if the distance is too small anyway.
        judges: What the user's recognisers say; the same holds.
    """

    cosine: float
    found: bool
    embedding: Tensor
    points: npt.NDArray[np.float64]
    coverage: CoverageReport | None = None
    judges: tuple[JudgeReport, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """What must hold of a replaced face.

    Attributes:
        threshold: Cosine from which on two faces count as one person, see ``Bundle.gate``.
        judges: The user's recognisers.
    """

    threshold: float
    judges: tuple[Judge, ...] = ()

    @property
    def limit(self) -> float:
        """The cosine that must not be reached: the threshold is itself an estimate."""
        return self.threshold - MARGIN

    def far_enough(self, cosine: float) -> bool:
        """Whether a cosine is below the limit; never true of NaN."""
        return cosine < self.limit

    def band(self, cosine: float) -> Band:
        """``"close"`` if a cosine that passes is hardly below the limit."""
        return "safe" if cosine < self.limit - WARNING_BAND else "close"

    def refusal(self, check: FaceCheck) -> RefusedError | None:
        """Why a face must not be written; None if it may."""
        if not self.far_enough(check.cosine):
            return RefusedError(
                "identity-too-close",
                f"The new face is too much like the original: cosine {check.cosine:.2f}, allowed "
                f"below {self.limit:.2f}; keep a smaller region, or try another seed.",
            )
        if not check.found:
            return RefusedError(
                "face-lost",
                "The new face is not found again in the output; use a photograph with a larger or "
                "more frontal face.",
            )
        if check.coverage is None or not coverage.covered(check.coverage):
            return coverage.refusal(check.coverage or CoverageReport(0, 0, 1.0))
        failed = [report for report in check.judges if not judge.passes(report)]
        if failed:
            return judge.refusal(failed[0])
        if len(check.judges) != len(self.judges):
            raise EngineError("A judge was not asked; this is an error of VerA, please report it.")
        return None


def check_face(
    output: Image, subject: Subject, found: list[Face], engines: Engines, gate: Gate
) -> FaceCheck:
    """Compares a face of a finished photograph with its original.

    Args:
        output: The finished photograph.
        subject: The face as it was.
        found: The faces detected in ``output``.
        engines: Runs the embedder.
        gate: What is asked for.

    Raises:
        EngineError: A judge failed.
    """
    original = subject.face
    embedding = embed(output, original.points, engines)
    cosines = [float(embedding @ original.embedding)]
    match = same_place(original.found, found)
    points = original.points
    if match is not None:
        points = match.points
        cosines.append(float(embed(output, points, engines) @ original.embedding))
    check = FaceCheck(float(np.max(cosines)), match is not None, embedding, points)
    if match is None or not gate.far_enough(check.cosine):
        return check
    strands = find_strands(original.crop, original.labels, subject.replacing)
    reports = [one.check(subject.photo, output, original.points, points) for one in gate.judges]
    return replace(
        check,
        coverage=coverage.check_coverage(subject.photo, output, original, subject.kept, strands),
        judges=tuple(reports),
    )


def check_kept(original: Image, output: Image, kept: npt.NDArray[np.bool_]) -> KeptReport:
    """Compares every kept pixel.

    Raises:
        RefusedError: ``kept-region-changed``.
    """
    pixels, difference = kept_difference(original, output, kept)
    if difference:
        raise RefusedError(
            "kept-region-changed",
            f"The kept region differs from the photograph by up to {difference} grey levels; this "
            "is an error of "
            "VerA, please report it.",
        )
    return KeptReport(pixels, difference)
