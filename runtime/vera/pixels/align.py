"""Geometry between a photograph and its aligned crops: similarity from five points, warps.

Pixel centres have integer coordinates. Matrices map photo pixels to crop pixels.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vera.contract import CROP_SIZE, EMBEDDER_SIZE
from vera.errors import ShapeError

Matrix = npt.NDArray[np.float64]  # [2, 3]
_Any = TypeVar("_Any", bound=np.generic)
_Level = TypeVar("_Level", np.uint8, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Where the five points of a face lie in an aligned crop.

    Attributes:
        points: float64 [5, 2], x y: image-left eye, image-right eye, nose tip, image-left and
            image-right mouth corner, in pixels of a crop of ``size``.
        size: Side of that crop.
    """

    points: npt.NDArray[np.float64]
    size: int


# The FFHQ alignment's mean face (facexlib, face_template at 512, halved).
FFHQ = Template(
    np.array(
        [(96.49, 119.98), (159.45, 120.10), (128.31, 157.01), (100.63, 185.70), (156.55, 185.58)]
    ),
    CROP_SIZE,
)

# The template of ArcFace and its followers.
ARCFACE = Template(
    np.array(
        [
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        ]
    ),
    EMBEDDER_SIZE,
)


class Box(NamedTuple):
    """A rectangle of whole photo pixels, half open, inside the photograph."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, array: npt.NDArray[_Any]) -> npt.NDArray[_Any]:
        """The part of a photo-sized array [h, w, ...] in this box, as a view."""
        return array[self.top : self.bottom, self.left : self.right]

    def embed(
        self, mask: npt.NDArray[np.bool_], photo_shape: tuple[int, ...]
    ) -> npt.NDArray[np.bool_]:
        """A mask of this box [box h, box w] in a photo-sized mask, False elsewhere."""
        full = np.zeros(photo_shape[:2], dtype=np.bool_)
        self.cut(full)[...] = mask
        return full


def crop_matrix(
    points: npt.ArrayLike, template: Template = FFHQ, size: int | None = None
) -> Matrix:
    """The similarity (no reflection) that brings five points closest to a template.

    Closed form of Umeyama (1991, eq. 40-42) in the plane: with points as complex numbers it is one
    least-squares coefficient.

    Args:
        points: [5, 2] x y in photo pixels, in the template's order.
        template: Where they should come to lie.
        size: Side of the crop if other than the template's own.

    Returns:
        float64 [2, 3], photo pixels to crop pixels.

    Raises:
        ShapeError: Not five finite points, or all in one place.
    """
    found = np.asarray(points, dtype=np.float64)
    if found.shape != template.points.shape or not np.isfinite(found).all():
        raise ShapeError(f"`points` must be 5 finite points [5, 2], got {list(found.shape)}.")
    ratio = (template.size if size is None else size) / template.size
    wanted = (template.points + 0.5) * ratio - 0.5
    source = found[:, 0] + 1j * found[:, 1]
    target = wanted[:, 0] + 1j * wanted[:, 1]
    centred = source - source.mean()
    spread = float((np.abs(centred) ** 2).sum())
    if spread < 1e-12:
        raise ShapeError("`points` lie all in one place; a face needs five different points.")
    turn = (centred.conj() * (target - target.mean())).sum() / spread
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def face_scale(matrix: Matrix) -> float:
    """Photo pixels per crop pixel: above 1 the face is larger than its crop."""
    return float(1.0 / np.hypot(matrix[0, 0], matrix[1, 0]))


def rescaled(matrix: Matrix, factor: float) -> Matrix:
    """``matrix`` for the same crop at ``factor`` times its side."""
    return np.hstack([matrix[:, :2] * factor, (matrix[:, 2:] + 0.5) * factor - 0.5])


def photo_box(matrix: Matrix, size: int, photo_shape: tuple[int, ...]) -> Box:
    """The smallest box of photo pixels that holds the crop's square, clipped to the photograph.

    Raises:
        ShapeError: The crop lies outside the photograph.
    """
    low, high = -0.5, size - 0.5
    corners = np.array([(low, low), (high, low), (high, high), (low, high)])
    inverse = _inverse(matrix)
    x, y = inverse[:, :2] @ corners.T + inverse[:, 2:]
    height, width = photo_shape[:2]
    box = Box(
        max(0, int(np.floor(x.min()))),
        max(0, int(np.floor(y.min()))),
        min(width, int(np.ceil(x.max())) + 1),
        min(height, int(np.ceil(y.max())) + 1),
    )
    if box.right <= box.left or box.bottom <= box.top:
        raise ShapeError(f"The crop lies outside the photograph of {width} x {height} pixels.")
    return box


def warp_to_crop(image: npt.NDArray[np.uint8], matrix: Matrix, size: int) -> npt.NDArray[np.uint8]:
    """Resample a photograph into its crop without aliasing; its edge is continued outwards.

    Args:
        image: uint8 [h, w, 3].
        matrix: Photo pixels to crop pixels.
        size: Side of the crop.

    Returns:
        uint8 [size, size, 3].
    """
    box = photo_box(matrix, size, image.shape)
    # One pixel more, so that interpolation at the box's rim sees the photograph and not its
    # continuation.
    height, width = image.shape[:2]
    wider = Box(
        max(0, box.left - 2),
        max(0, box.top - 2),
        min(width, box.right + 2),
        min(height, box.bottom + 2),
    )
    inverse = _shifted(_inverse(matrix), -wider.left, -wider.top)
    return _resample(wider.cut(image), inverse, (size, size), cubic=False, outside=None)


def image_to_photo(crop: npt.NDArray[_Level], matrix: Matrix, box: Box) -> npt.NDArray[_Level]:
    """Resample a crop image [s, s, 3] over a box of the photograph; its edge is continued outwards.

    Returns:
        [box h, box w, 3] of the crop's dtype.
    """
    return _resample(crop, _over_box(matrix, box), box.shape, cubic=True, outside=None)


def mask_to_photo(
    mask: npt.NDArray[np.float32], matrix: Matrix, box: Box
) -> npt.NDArray[np.float32]:
    """Resample a soft crop mask [s, s] over a box of the photograph; 0 outside the crop.

    Returns:
        float32 [box h, box w], within the mask's own range.
    """
    return _resample(mask, _over_box(matrix, box), box.shape, cubic=False, outside=0.0)


def mask_to_crop(
    mask: npt.NDArray[np.bool_], matrix: Matrix, box: Box, size: int
) -> npt.NDArray[np.bool_]:
    """Resample a mask of a box of the photograph [box h, box w] into the crop [size, size].

    A crop pixel is set where at least half of it is covered; outside the photograph none is.
    """
    lookup = _shifted(_inverse(matrix), -box.left, -box.top)
    covered = _resample(
        mask.astype(np.uint8) * np.uint8(255), lookup, (size, size), cubic=False, outside=0.0
    )
    return covered >= 128


def to_tensor(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Image uint8 [h, w, 3] to tensor float32 [1, 3, h, w] in [-1, 1]."""
    planes = image.transpose(2, 0, 1)[np.newaxis]
    return np.ascontiguousarray(planes, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)


def to_image(tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Tensor float32 [1, 3, h, w] or [3, h, w] in [-1, 1] to image uint8 [h, w, 3]; clips."""
    planes = tensor[0] if tensor.ndim == 4 else tensor
    levels = np.rint((planes.transpose(1, 2, 0) + np.float32(1.0)) * np.float32(127.5))
    return np.ascontiguousarray(np.clip(levels, 0.0, 255.0).astype(np.uint8))


def _inverse(matrix: Matrix) -> Matrix:
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -linear @ matrix[:, 2:]])


def _shifted(matrix: Matrix, x: float, y: float) -> Matrix:
    """``matrix`` followed by a shift of its results."""
    moved = matrix.copy()
    moved[:, 2] += (x, y)
    return moved


def _over_box(matrix: Matrix, box: Box) -> Matrix:
    """Box pixels to crop pixels."""
    return _shifted(matrix, *(matrix[:, :2] @ (box.left, box.top)))


def _resample(
    image: npt.NDArray[_Level],
    lookup: Matrix,  # output pixels to image pixels
    shape: tuple[int, int],
    *,
    cubic: bool,
    outside: float | None,  # None continues the edge
) -> npt.NDArray[_Level]:
    """Gather ``image`` at ``lookup``; averages where many image pixels fall on one output pixel."""
    import cv2

    density = float(np.hypot(lookup[0, 0], lookup[1, 0]))  # image pixels per output pixel
    if density >= 2.0:
        image, lookup = _reduced(image, lookup, int(density))
        density /= int(density)
    over = (
        2 if density > 1.0 + 1e-9 else 1
    )  # two samples per output pixel and axis, then their mean
    dense = _scaled_input(lookup, 1.0 / over)
    result = cv2.warpAffine(
        image,
        dense,
        (shape[1] * over, shape[0] * over),
        flags=(cv2.INTER_CUBIC if cubic and over == 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT,
        borderValue=0.0 if outside is None else outside,
    )
    if over > 1:
        result = cv2.resize(result, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return result  # type: ignore[return-value]


def _scaled_input(lookup: Matrix, step: float) -> Matrix:
    """``lookup`` for output pixels of side ``step``."""
    offset = (step - 1.0) / 2.0
    return np.hstack(
        [lookup[:, :2] * step, lookup[:, 2:] + lookup[:, :2].sum(axis=1, keepdims=True) * offset]
    )


def _reduced(
    image: npt.NDArray[_Level], lookup: Matrix, factor: int
) -> tuple[npt.NDArray[_Level], Matrix]:
    """The image averaged over squares of ``factor`` pixels, and the lookup into it."""
    import cv2

    height, width = image.shape[:2]
    small = (max(1, width // factor), max(1, height // factor))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    ratio = np.array([[small[0] / width], [small[1] / height]])
    linear = lookup[:, :2] * ratio
    return reduced, np.hstack([linear, (lookup[:, 2:] + 0.5) * ratio - 0.5])  # type: ignore[return-value]
