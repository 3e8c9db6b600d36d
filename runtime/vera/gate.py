"""The gate: what must hold before a photograph may be written.

Every replaced face must be found again in the output and be another person there, measured on the
finished photograph; every kept pixel must equal the original.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.compose import kept_difference
from vera.detect import Face, box_iou
from vera.engines import Engines, Tensor
from vera.errors import RefusedError
from vera.faces import AlignedFace, embed
from vera.report import KeptReport

Image = npt.NDArray[np.uint8]

# How many synthetic people are tried before a photograph is refused; most fail in the crop already,
# which costs a tenth of a second.
DRAWS = 16

# A draw passes only this far below the threshold, because the threshold is itself an estimate.
MARGIN = 0.03

_SAME_PLACE_IOU = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class FaceCheck:
    """One face of an output.

    Attributes:
        cosine: The larger cosine to the original of the two alignments: with the original's points,
            and with those found in the output.
        found: Whether a face was found in the output where the original's was.
        embedding: float32 [128] of the output face.
    """

    cosine: float
    found: bool
    embedding: Tensor

    def passes(self, threshold: float) -> bool:
        """Whether this is another person, and still a face."""
        return self.found and far_enough(self.cosine, threshold)


def far_enough(cosine: float, threshold: float) -> bool:
    """Whether a cosine is below the threshold by the margin; never true of NaN."""
    return cosine < threshold - MARGIN


def check_face(
    output: Image, original: AlignedFace, found: list[Face], engines: Engines
) -> FaceCheck:
    """Compares a face of a finished photograph with its original.

    Args:
        output: The finished photograph.
        original: The face as it was.
        found: The faces detected in ``output``.
        engines: Runs the embedder.
    """
    embedding = embed(output, original.points, engines)
    cosines = [float(embedding @ original.embedding)]
    match = _same_place(original.found, found)
    if match is not None:
        cosines.append(float(embed(output, match.points, engines) @ original.embedding))
    return FaceCheck(float(np.max(cosines)), match is not None, embedding)


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


def refusal(cosine: float, threshold: float, draws: int) -> RefusedError:
    """Why no draw passed: ``cosine`` is the best that was reached."""
    if not far_enough(cosine, threshold):
        return RefusedError(
            "identity-too-close",
            f"None of {draws} synthetic people was far enough from the original: best cosine "
            f"{cosine:.2f}, allowed below {threshold - MARGIN:.2f}; keep a smaller region, or try "
            "another seed.",
        )
    return RefusedError(
        "face-lost",
        f"None of {draws} synthetic people gave a face that is found again in the output; use a "
        "photograph with a larger or more frontal face.",
    )


def _same_place(original: Face, found: list[Face]) -> Face | None:
    if not found:
        return None
    overlaps = box_iou(original.box, np.stack([face.box for face in found]))
    best = int(np.argmax(overlaps))
    return found[best] if overlaps[best] >= _SAME_PLACE_IOU else None
