"""Connected parts, holes and structuring elements of masks [h, w]."""

import numpy as np
import numpy.typing as npt

# Enclosed spots of other classes inside the face below this many crop pixels are errors of the
# parser.
_LARGEST_HOLE = 200


def disc(radius: int) -> npt.NDArray[np.uint8]:
    """Structuring element uint8 [2 radius + 1, 2 radius + 1]."""
    import cv2

    side = 2 * radius + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)


def parts(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Connected parts: their number per pixel (0 outside), and their sizes (entry 0 is outside)."""
    import cv2

    _, numbers, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), None)
    sizes = statistics[:, cv2.CC_STAT_AREA].astype(np.int32)
    sizes[0] = 0
    return np.asarray(numbers, dtype=np.int32), sizes


def filled(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask [h, w] with its small enclosed holes closed."""
    numbers, sizes = parts(~mask)
    small = sizes < _LARGEST_HOLE
    edge = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    small[edge] = False
    small[0] = False
    return mask | small[numbers]


def near(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """``mask`` [h, w] and all within ``radius`` pixels of it."""
    import cv2

    return cv2.dilate(mask.astype(np.uint8), disc(radius)).astype(np.bool_)


def widened(mask: npt.NDArray[np.bool_], reach: float) -> npt.NDArray[np.bool_]:
    """``mask`` [h, w] and all within ``reach`` pixels of it, to fractions of a pixel.

    Works on the neighbourhood only, for masks of a photograph's size.
    """
    import cv2

    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return mask
    rim = int(np.ceil(reach)) + 1
    area = (
        slice(max(0, int(rows[0]) - rim), int(rows[-1]) + rim + 1),
        slice(max(0, int(columns[0]) - rim), int(columns[-1]) + rim + 1),
    )
    outside = (~mask[area]).astype(np.uint8)
    wider = mask.copy()
    wider[area] = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5) <= reach
    return wider
