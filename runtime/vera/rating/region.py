"""What a sheet shows of a photograph: all of an output, or the kept region of its original."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_GREY = 128

# A lossy output cannot confirm which pixels are kept: the outline's rounding stays outside, and so
# does what differs by more grey levels than the codec makes of a kept pixel (at its quality of 95
# 99.9 % of a photograph's pixels stay within this).
_LOSSY_RIM_PX = 2
_LOSSY_LEVELS = 12

# Below this share of equal pixels the outline is not that of this pair of files.
_LEAST_EQUAL = 0.5

# How far the view reaches beyond the kept region, in its own width and height.
_VIEW_BEYOND = 0.5


def kept_outline(report: Mapping[str, Any]) -> Sequence[Any]:
    """The polygons of the kept region by a report; empty if nothing is kept."""
    outline: Sequence[Any] = report["kept"]["outline"]
    return outline


def kept_region(report: Mapping[str, Any], size: tuple[int, int]) -> Mask | None:
    """The kept region by the outline of a report, bool [h, w]; None if it tells none."""
    import cv2

    outline = kept_outline(report)
    if not outline:
        return None
    filled = np.zeros(size, np.uint8)
    cv2.fillPoly(filled, [np.array(polygon, np.int32) for polygon in outline], 1)
    return filled.astype(bool) if filled.any() else None


def original_region(original: Image, output: Image, kept: Mask, *, lossy: bool) -> Image | None:
    """The original within the kept region, neutral grey elsewhere.

    A pixel of the original is shown only where a lossless output shows the very same, or a lossy
    one nearly the same.

    Args:
        original: uint8 [h, w, 3].
        output: What was made of it.
        kept: bool [h, w], of the output.
        lossy: Whether the output's codec changed its pixels.

    Returns:
        None if the two do not belong together (other sizes, or other pixels in the kept region), or
        a lossy output leaves nothing that could be shown.
    """
    import cv2

    if original.shape != output.shape:
        return None
    if lossy:
        reach = 2 * _LOSSY_RIM_PX + 1
        kept = cv2.erode(kept.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
    levels = _LOSSY_LEVELS if lossy else 0
    shown = kept & (cv2.absdiff(original, output) <= levels).all(axis=2)
    if shown.sum() < max(1, _LEAST_EQUAL * kept.sum()):
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
