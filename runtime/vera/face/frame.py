"""The aligned square of one face, worked on as if it were the photograph."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vera.contract import CROP_SIZE
from vera.face.detect import Face
from vera.face.faces import AlignedFace
from vera.pixels import align
from vera.pixels.align import Box, Matrix

Image = npt.NDArray[np.uint8]

SIDES = (256, 512, 1024)

# A side may exceed the face's own resolution by this factor: rather a little soft than half lost.
_ENLARGED = 1.25

# Beyond the photograph the square turns into its own blur over a third of this share of the side,
# and over all of it into its median colour (the alignment of FFHQ, Karras et al. 2019, does both).
# Under that lies the photograph's edge, continued and not mirrored: mirrored, a face at the edge
# would appear again where the part map, which was made of the continued edge, knows of none.
_SOFTENED = 0.1
_BLUR = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class FramedPhoto:
    """The square around a face.

    Attributes:
        image: uint8 [s, s, 3]; s is one of :data:`SIDES`.
        mask: bool [s, s], the user's mask in it, if there is one.
        matrix: float64 [2, 3], pixels of the photograph to pixels of the square.
    """

    image: Image
    mask: npt.NDArray[np.bool_] | None
    matrix: Matrix


def frame_photo(image: Image, mask: npt.NDArray[np.bool_] | None, face: AlignedFace) -> FramedPhoto:
    """Cuts the aligned square of a face out of its photograph, at about the photograph's scale.

    The square is turned upright, so its pixels are resampled: what is kept bit for bit afterwards
    is kept of the square.

    Args:
        image: uint8 [h, w, 3], the photograph.
        mask: bool [h, w], the region to keep, if it was given as a mask.
        face: The face in it.
    """
    own = CROP_SIZE * align.face_scale(face.matrix)
    side = max(SIDES[0], *(s for s in SIDES if s <= own * _ENLARGED or s == SIDES[0]))
    matrix = align.rescaled(face.matrix, side / CROP_SIZE)
    square = align.warp_to_crop(image, matrix, side)
    square = _softened(square, _beyond(matrix, side, image.shape))
    if mask is None:
        return FramedPhoto(square, None, matrix)
    box = align.photo_box(matrix, side, image.shape)
    return FramedPhoto(square, align.mask_to_crop(box.cut(mask), matrix, box, side), matrix)


def framed_face(face: AlignedFace, framed: FramedPhoto) -> AlignedFace:
    """The same face in the coordinates of its square; the square need not be searched again."""
    side = framed.image.shape[0]
    place = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    matrix = np.linalg.inv(np.vstack([align.rescaled(place, side / CROP_SIZE), [0, 0, 1]]))[:2]
    return replace(
        face,
        found=moved_face(face.found, framed),
        points=_moved(face.points, framed.matrix),
        matrix=matrix,
        crop=align.warp_to_crop(framed.image, matrix, CROP_SIZE),
        box=Box(0, 0, side, side),
    )


def moved_face(found: Face, framed: FramedPhoto) -> Face:
    """A detected face in the coordinates of the square."""
    corners = found.box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)
    turned = _moved(corners, framed.matrix)
    return Face(
        np.concatenate([turned.min(axis=0), turned.max(axis=0)]),
        _moved(found.points, framed.matrix),
        found.score,
    )


def _moved(points: npt.NDArray[np.float64], matrix: Matrix) -> npt.NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _beyond(matrix: Matrix, side: int, photo_shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Distance of each pixel of the square from the photograph, in pixels of the square."""
    y, x = np.mgrid[0:side, 0:side]
    linear = np.linalg.inv(matrix[:, :2])
    across, down = np.einsum("ij,jhw->ihw", linear, np.stack([x, y]) - matrix[:, 2, None, None])
    height, width = photo_shape[:2]
    outside = np.maximum.reduce([-across, across - (width - 1), -down, down - (height - 1)])
    return np.asarray(np.maximum(outside, 0) / align.face_scale(matrix), np.float32)


def _softened(square: Image, beyond: npt.NDArray[np.float32]) -> Image:
    import cv2

    if not beyond.any():
        return square
    side = square.shape[0]
    share = np.clip(beyond / (_SOFTENED * side), 0, 1)[..., np.newaxis]
    levels = square.astype(np.float32)
    levels += np.clip(3 * share, 0, 1) * (cv2.GaussianBlur(levels, (0, 0), _BLUR * side) - levels)
    inside = beyond == 0
    median = np.median(square[inside] if inside.any() else square.reshape(-1, 3), axis=0)
    levels += share * (median.astype(np.float32) - levels)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
