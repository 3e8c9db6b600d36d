"""Detection: every face of a full photograph, with five points, from a few passes of one engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.errors import ShapeError

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]
Tensor = npt.NDArray[np.float32]

# The detector engine: photo [1, 3, h, w] -> scores [1, m], boxes [1, m, 4], points [1, m, 5, 2].
Run = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

# Measured: all faces of 210 upright portraits are found up to 0.75; false ones: 12 at 0.5, 3 at 0.6
# and 1 at 0.7. Heads turned by 45 degrees and faces under 20 px begin to be missed above 0.6.
SCORE_THRESHOLD = 0.7

# 192 px finds turned heads that fill the photograph; 1280 px finds faces below 1/40 of the long
# side, but doubles the false ones.
LONG_SIDES = (192, 320, 640)

_MULTIPLE = 32  # the engine's input sides
_MERGE_IOU = 0.4

# A weaker candidate with this share of its area inside a face is a part of it: a nose, a mouth.
_INSIDE = 0.6


# Boxes that overlap less are faces in two places.
_SAME_PLACE_IOU = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face of a photograph.

    Attributes:
        box: float64 [4] x1 y1 x2 y2 in pixels of the photograph: from the forehead to the
            chin and from cheek to cheek. It may reach beyond the photograph.
        points: float64 [5, 2] x y of the image-left eye, image-right eye, nose tip, image-left and
            image-right mouth corner, in pixels of the photograph, pixel centres at integers.
        score: The engine's score in [0, 1].
    """

    box: Array
    points: Array
    score: float

    @property
    def side_px(self) -> float:
        """Longer side of the box in pixels: what is said when a face is too small."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def area_px(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


def detect(
    run: Run,
    image: Image,
    *,
    threshold: float = SCORE_THRESHOLD,
    long_sides: Sequence[int] = LONG_SIDES,
) -> list[Face]:
    """Find the faces of a photograph, largest first.

    The photograph is looked at in several sizes, because the engine sees faces from 16 px to about
    three quarters of its input; what several sizes agree on is averaged.

    Args:
        run: The detector engine.
        image: uint8 [h, w, 3] RGB of any size.
        threshold: Smallest score of a face.
        long_sides: Longer side of each input in pixels. The photograph is never enlarged beyond
            twice its size.

    Raises:
        ShapeError: ``image`` is not uint8 [h, w, 3].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(
            f"The photograph must be uint8 [h, w, 3], got {image.dtype} {list(image.shape)}; "
            "convert it to 8-bit RGB."
        )
    found: list[Face] = []
    source, scale = image, 1.0
    for long_side in sorted(long_sides, reverse=True):
        # From the last, smaller picture: a photograph of 50 megapixels is read once.
        source, scale = _resized(source, scale, image, long_side)
        found += _candidates(run, source, scale, image, threshold)
    return sorted(merge(found), key=lambda face: -face.area_px)


def merge(faces: Sequence[Face], iou: float = _MERGE_IOU) -> list[Face]:
    """Weighted non-maximum suppression: the best face absorbs those that overlap it.

    Boxes and points become means weighted by the squared score, because the engine's answers for
    one face differ from cell to cell and from size to size; the score is the best one's. Weaker
    candidates that lie inside a face are dropped.

    Args:
        faces: Candidates in any order.
        iou: Overlap (intersection over union) from which two candidates are one face.
    """
    if not faces:
        return []
    order = sorted(range(len(faces)), key=lambda i: -faces[i].score)
    boxes = np.stack([faces[i].box for i in order])
    points = np.stack([faces[i].points for i in order])
    scores = np.array([faces[i].score for i in order])
    free = np.ones(len(order), np.bool_)
    merged = []
    for i in range(len(order)):
        if not free[i]:
            continue
        group = free & (box_iou(boxes[i], boxes) >= iou)
        group[i] = True
        weight = scores[group] ** 2
        weight /= weight.sum()
        box = np.tensordot(weight, boxes[group], 1)
        free &= ~group & (_share_inside(box, boxes) < _INSIDE)
        merged.append(Face(box, np.tensordot(weight, points[group], 1), float(scores[i])))
    return merged


def same_place(original: Face, found: Sequence[Face]) -> Face | None:
    """The detection that overlaps a face's box best, if by enough to be that face."""
    if not found:
        return None
    overlaps = box_iou(original.box, np.stack([face.box for face in found]))
    best = int(np.argmax(overlaps))
    return found[best] if overlaps[best] >= _SAME_PLACE_IOU else None


def box_iou(box: Array, boxes: Array) -> Array:
    """Intersection over union of ``box`` [4] with ``boxes`` [n, 4], [n] in [0, 1]."""
    shared = _shared_area(box, boxes)
    total = _area(box[None]) + _area(boxes)
    return np.asarray(shared / np.maximum(total - shared, 1e-9), np.float64)


def _share_inside(box: Array, boxes: Array) -> Array:
    return np.asarray(_shared_area(box, boxes) / np.maximum(_area(boxes), 1e-9), np.float64)


def _shared_area(box: Array, boxes: Array) -> Array:
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=1), np.float64)


def _area(boxes: Array) -> Array:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.float64)


def _resized(source: Image, scale: float, image: Image, long_side: int) -> tuple[Image, float]:
    import cv2

    goal = min(long_side / max(image.shape[:2]), 2.0)
    h, w = (max(1, round(side * goal)) for side in image.shape[:2])
    if (h, w) == source.shape[:2]:
        return source, goal
    how = cv2.INTER_AREA if goal < scale else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(source, (w, h), interpolation=how), np.uint8), goal


def _candidates(
    run: Run, source: Image, scale: float, image: Image, threshold: float
) -> list[Face]:
    h, w = source.shape[:2]
    rows, columns = (-side % _MULTIPLE for side in (h, w))
    padded = np.pad(source, ((0, rows), (0, columns), (0, 0)), mode="edge")
    tensor = padded.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - np.float32(1)
    scores, boxes, points = run(tensor)
    kept = np.flatnonzero(scores[0] >= threshold)
    # Pixel centres at integers: x in the photograph is (x + 0.5) / scale - 0.5 (exact sides differ
    # by the rounding of h and w, so each axis has its own scale).
    factor = np.array([image.shape[1] / w, image.shape[0] / h])
    found = []
    for i in kept:
        corners = (boxes[0, i].astype(np.float64).reshape(2, 2) + 0.5) * factor - 0.5
        places = (points[0, i].astype(np.float64) + 0.5) * factor - 0.5
        centre = corners.mean(0)
        if (centre < -0.5).any() or (centre > [image.shape[1] - 0.5, image.shape[0] - 0.5]).any():
            continue  # a face in the padding
        found.append(Face(corners.reshape(4), places, float(scores[0, i])))
    return found
