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
