"""How the generated area meets the photograph: the step across its border that was not there."""

import numpy as np
import numpy.typing as npt

from vera.errors import ShapeError
from vera.pixels.align import Matrix, face_scale
from vera.report import SeamReport

Image = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Plane = npt.NDArray[np.float32]

# A report warns above either. Grey levels; see docs/gate.md for how they were measured.
STEP_LIMIT, STEP_P95_LIMIT = 4.0, 25.0

# Both sides of the border are averaged this far from it. Crop pixels.
_REACH = 2.0

# Generated pixels that equal the photograph by chance, and single hairs, make no border of their
# own. Crop pixels.
_SPECKS = 1.0


def measure_seam(original: Image, output: Image, changed: _Mask, matrix: Matrix) -> SeamReport:
    """Compares the step across the border of what was changed with the photograph's own step.

    Around each pixel of the border, the border to the kept region included, the changed and the
    unchanged pixels are averaged apart, in the output and in the photograph. The difference of the
    two means is the step; what the output's has over the photograph's is the seam. An edge that
    the photograph has there itself, such as the hairline, is therefore no seam.

    Args:
        original: uint8 [h, w, 3].
        output: uint8 [h, w, 3].
        changed: bool [h, w], where a face was generated, or where the two differ.
        matrix: float64 [2, 3], photo pixels to crop pixels.

    Returns:
        Grey levels of 255; all 0 if nothing was changed, or everything.

    Raises:
        ShapeError: The three are not of one size.
    """
    if original.shape != output.shape or changed.shape != original.shape[:2]:
        raise ShapeError(
            f"`output` {list(output.shape)} and `changed` {list(changed.shape)} must be of the "
            f"size of the photograph {list(original.shape)}."
        )
    scale = face_scale(matrix)
    side = _odd(2 * _REACH * scale)
    area = _around(changed, side)
    if area is None:
        return SeamReport(0.0, 0.0, 0)
    inside = _without_specks(changed[area], _odd(2 * _SPECKS * scale))
    border = _border(inside)
    if not border.any():
        return SeamReport(0.0, 0.0, 0)
    step, own = (_step(image[area], inside, border, side) for image in (output, original))
    excess = np.maximum(step - own, 0)
    median, high = np.percentile(excess, (50, 95))
    return SeamReport(round(float(median), 2), round(float(high), 2), int(border.sum()))


def seam_shows(report: SeamReport) -> bool:
    """Whether a report should warn of a visible seam; also true of NaN."""
    return not (report.step <= STEP_LIMIT and report.step_p95 <= STEP_P95_LIMIT)


def seam_warning(report: SeamReport) -> str:
    """The warning as a sentence."""
    return (
        f"The new face's border may show: steps of {report.step:.0f} grey levels in the middle, "
        f"{report.step_p95:.0f} at worst; look at the picture."
    )


def _around(mask: _Mask, rim: int) -> tuple[slice, slice] | None:
    """The box of the mask and ``rim`` pixels more."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return None
    top, left = max(0, int(rows[0]) - rim), max(0, int(columns[0]) - rim)
    return slice(top, int(rows[-1]) + rim + 1), slice(left, int(columns[-1]) + rim + 1)


def _without_specks(mask: _Mask, side: int) -> _Mask:
    import cv2

    square = np.ones((side, side), np.uint8)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, square)
    return cv2.morphologyEx(closed, cv2.MORPH_OPEN, square).astype(np.bool_)


def _border(inside: _Mask) -> _Mask:
    """Changed pixels with an unchanged neighbour."""
    import cv2

    eroded = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8))
    return inside & ~eroded.astype(np.bool_)


def _step(image: Image, inside: _Mask, border: _Mask, side: int) -> _Plane:
    """Mean over the channels of the step across the border, at each border pixel [n]."""
    weight = inside.astype(np.float32)
    share = _mean(weight, side)[border]
    total = np.zeros(share.shape, np.float32)
    for channel in range(3):
        plane = image[..., channel].astype(np.float32)
        both, ours = _mean(plane, side)[border], _mean(plane * weight, side)[border]
        total += np.abs(ours / share - (both - ours) / np.maximum(1 - share, 1e-6))
    return np.asarray(total / 3, np.float32)


def _mean(plane: _Plane, side: int) -> _Plane:
    import cv2

    return np.asarray(cv2.blur(plane, (side, side)), np.float32)


def _odd(size: float) -> int:
    return max(3, round(size)) | 1
