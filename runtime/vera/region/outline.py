"""The kept region as a report tells it: its outline, and how much of the face it takes."""

import numpy as np
import numpy.typing as npt

from vera.pixels.align import Box, Matrix, mask_to_photo
from vera.request.keep import class_numbers

Outline = tuple[tuple[tuple[int, int], ...], ...]

# What a recogniser looks at.
FACE = class_numbers("skin", "eye", "brow", "mouth", "nose", "glasses")

# How far the outline may be from the region's edge, in photo pixels; a ragged edge that would need
# more points than a report should hold is drawn twice as roughly, and so on.
_TOLERANCE = 1.0
_MOST_POINTS = 128
_MOST_POLYGONS = 32


def outline(kept: npt.NDArray[np.bool_]) -> Outline:
    """Closed polygons around a mask [h, w], the longest first.

    Filled by the even-odd rule they give the mask again, to about a pixel; a hole has a polygon of
    its own. What is too thin for a polygon is left out, and so are the shortest of more than 32.

    Returns:
        Polygons of x y in pixels of the mask; the same mask gives the same polygons.
    """
    import cv2

    rows, columns = (np.flatnonzero(kept.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return ()
    top, left = int(rows[0]), int(columns[0])
    part = kept[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].astype(np.uint8)
    found, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    longest = sorted(found, key=len, reverse=True)
    polygons = [_simplified(np.asarray(contour, dtype=np.int32)) for contour in longest]
    return tuple(polygon for polygon in polygons if len(polygon) >= 3)[:_MOST_POLYGONS]


def _simplified(contour: npt.NDArray[np.int32]) -> tuple[tuple[int, int], ...]:
    import cv2

    tolerance = _TOLERANCE
    points = cv2.approxPolyDP(contour, tolerance, closed=True)
    while len(points) > _MOST_POINTS:
        tolerance *= 2
        points = cv2.approxPolyDP(contour, tolerance, closed=True)
    return tuple((int(x), int(y)) for x, y in points[:, 0])


def face_share(
    kept: npt.NDArray[np.bool_],  # [box h, box w]
    shares: npt.NDArray[np.float32],  # [13, s, s] class probabilities of the photograph's crop
    matrix: Matrix,
    box: Box,
    classes: tuple[int, ...] = FACE,
) -> float:
    """Share of the face, or of these ``classes`` of it, that is kept, in [0, 1]; 0 without any."""
    face = class_mask(shares, classes, matrix, box)
    return int((kept & face).sum()) / max(1, int(face.sum()))


def class_mask(
    shares: npt.NDArray[np.float32],  # [13, s, s]
    classes: tuple[int, ...],
    matrix: Matrix,
    box: Box,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """Where these classes together are likelier than the others, at the photograph's resolution."""
    together: npt.NDArray[np.float32] = shares[list(classes)].sum(axis=0, dtype=np.float32)
    return mask_to_photo(together, matrix, box) >= 0.5
