"""What the blending operations share: checked arrays, and the part of the photo they work on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vera import _C
from vera.errors import ShapeError
from vera.ops.arrays import array_module

Photo = npt.NDArray[np.uint8]
Generated = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Checked, C-contiguous arrays; all but the photo cover its part that starts at ``corner``.

    Attributes:
        photo: uint8 [h, w, 3].
        generated: uint8 or float32 [bh, bw, 3].
        mask: uint8 [bh, bw], nonzero = take the generated pixel.
        valid: uint8 [bh, bw], zero = the generated pixel is unusable outside the mask; or None.
        corner: Column and row of the first pixel in the photograph.
    """

    photo: Photo
    generated: Generated
    mask: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.uint8] | None
    corner: tuple[int, int]

    def grown(self, bounds: Box, margin: int) -> Box:
        """``bounds`` and ``margin`` pixels more, as far as the box goes."""
        height, width = self.mask.shape
        x0, y0, x1, y1 = bounds
        return (
            max(x0 - margin, 0),
            max(y0 - margin, 0),
            min(x1 + margin, width),
            min(y1 + margin, height),
        )

    def photo_borders(self, bounds: Box) -> tuple[bool, bool, bool, bool]:
        """Where ``bounds`` end with the photograph: left, top, right, bottom."""
        (x, y), (height, width) = self.corner, self.photo.shape[:2]
        return (
            bounds[0] + x == 0,
            bounds[1] + y == 0,
            bounds[2] + x == width,
            bounds[3] + y == height,
        )

    def require_margin(self, bounds: Box) -> None:
        """Blending needs one generated pixel on the other side of the mask's edge."""
        height, width = self.mask.shape
        inside = (bounds[0] > 0, bounds[1] > 0, bounds[2] < width, bounds[3] < height)
        for free, border, side in zip(
            inside, self.photo_borders(bounds), ("left", "top", "right", "bottom"), strict=True
        ):
            if not (free or border):
                raise ShapeError(
                    f"`mask` touches the {side} side of `box`, where the photograph goes on; "
                    "pass a box with at least one more pixel there."
                )

    @staticmethod
    def cut(array: npt.NDArray[Any], region: Box) -> npt.NDArray[Any]:
        """The region of an array over the box, contiguous."""
        x0, y0, x1, y1 = region
        return np.ascontiguousarray(array[y0:y1, x0:x1])


def checked_images(
    generated: Generated, photo: Photo, mask: Mask, *, valid: Mask | None, box: Box | None
) -> Region:
    """Check shapes and dtypes, with a sentence for each way to be wrong."""
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ShapeError(f"`photo` must be uint8 [h, w, 3], got {photo.dtype} {list(photo.shape)}.")
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = box if box is not None else (0, 0, width, height)
    if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
        raise ShapeError(
            f"`box` must be (x0, y0, x1, y1) inside the photograph {width} x {height}, got {box}."
        )
    shape = (y1 - y0, x1 - x0)
    if generated.shape != (*shape, 3) or generated.dtype not in (np.uint8, np.float32):
        raise ShapeError(
            f"`generated` must be uint8 or float32 {[*shape, 3]} like the photograph or its box, "
            f"got {generated.dtype} {list(generated.shape)}."
        )
    for name, array in (("mask", mask), ("valid", valid)):
        if array is not None and array.shape != shape:
            raise ShapeError(f"`{name}` must be {list(shape)}, got {list(array.shape)}.")
    module = array_module(photo)
    return Region(
        module.ascontiguousarray(photo),
        module.ascontiguousarray(generated),
        byte_mask(mask),
        None if valid is None else byte_mask(valid),
        (x0, y0),
    )


def byte_mask(mask: Mask) -> npt.NDArray[np.uint8]:
    """A mask as uint8: bool as it is, uint8 nonzero = set, float one half and above = set."""
    if mask.dtype.kind == "f":
        return (mask >= 0.5).view(np.uint8)
    if mask.dtype == np.bool_:
        mask = mask.view(np.uint8)
    if mask.dtype == np.uint8:
        contiguous: npt.NDArray[np.uint8] = array_module(mask).ascontiguousarray(mask)
        return contiguous
    raise ShapeError(f"A mask must be bool, uint8 or float32, got {mask.dtype}; convert it.")


def mask_bounds(mask: npt.NDArray[np.uint8]) -> Box:
    """x0, y0, x1, y1 around the nonzero pixels; all zero if there are none."""
    module = array_module(mask)
    if module is np:
        return _C.mask_bounds(mask)
    columns, rows = (module.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    if columns.size == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def distance_to_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Euclidean distance of every pixel to the nearest nonzero one, in pixels."""
    return distance_inside((mask == 0).view(np.uint8))


def distance_inside(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Euclidean distance to the nearest zero of ``mask``; the rim of the array is no zero."""
    import cv2

    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.ascontiguousarray(distance, np.float32)
