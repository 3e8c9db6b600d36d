"""What a sheet shows of a photograph: all of an output, or the kept region of its original."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_GREY = 128

# A lossy output cannot confirm which pixels are kept: the outline's rounding stays outside.
_LOSSY_RIM_PX = 2

# Below this share of equal pixels the outline is not that of this pair of files.
_LEAST_EQUAL = 0.5

# How far the view reaches beyond the kept region, in its own width and height.
_VIEW_BEYOND = 0.5


def kept_region(report: Mapping[str, Any], size: tuple[int, int]) -> Mask | None:
    """The kept region by the outline of a report, bool [h, w]; None if it tells none."""
    import cv2

    outline: Sequence[Any] = report["kept"]["outline"]
    if not outline:
        return None
    filled = np.zeros(size, np.uint8)
    cv2.fillPoly(filled, [np.array(polygon, np.int32) for polygon in outline], 1)
    return filled.astype(bool) if filled.any() else None


def original_region(original: Image, output: Image, kept: Mask, *, lossy: bool) -> Image | None:
    """The original within the kept region, neutral grey elsewhere.

    A pixel of the original is shown only where a lossless output shows the very same.

    Args:
        original: uint8 [h, w, 3].
        output: What was made of it.
        kept: bool [h, w], of the output.
        lossy: Whether the output's codec changed its pixels.

    Returns:
        None if the two do not belong together: other sizes, or other pixels in the kept region.
    """
    import cv2

    if original.shape != output.shape:
        return None
    if lossy:
        reach = 2 * _LOSSY_RIM_PX + 1
        shown = cv2.erode(kept.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
    else:
        shown = kept & (original == output).all(axis=2)
        if shown.sum() < _LEAST_EQUAL * kept.sum():
            return None
    return np.where(shown[..., None], original, np.uint8(_GREY))


def view(image: Image, kept: Mask | None) -> Image:
    """The part of an image around the kept region; all of it if nothing is kept."""
    if kept is None:
        return image
    rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    reaches = [
        slice(max(0, first - beyond), last + 1 + beyond)
        for first, last in ((rows[0], rows[-1]), (columns[0], columns[-1]))
        for beyond in [round((last - first + 1) * _VIEW_BEYOND)]
    ]
    return np.ascontiguousarray(image[tuple(reaches)])
