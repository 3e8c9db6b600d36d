"""Colour match: gives the generated image the tone of the photo around the mask."""

from typing import Any

import numpy as np
import numpy.typing as npt

from vera import _C
from vera.errors import ShapeError
from vera.ops.blend_region import (
    Box,
    Generated,
    Mask,
    Photo,
    Region,
    byte_mask,
    checked_images,
    distance_to_mask,
    mask_bounds,
)

MOST_GAIN = 2.0  # a ring of nearly constant colour says nothing about contrast
_FLAT = 0.5  # grey levels: below this standard deviation the gain is 1

# RGB to the orthonormal opponent axes of csrc/colour_match.h.
_AXES = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]], np.float64)
_AXES /= np.linalg.norm(_AXES, axis=1, keepdims=True)


def colour_match(
    generated: Generated,
    photo: Photo,
    mask: Mask,
    *,
    ring_px: int = 16,
    valid: Mask | None = None,
    box: Box | None = None,
) -> npt.NDArray[np.float32]:
    """Transfer mean and standard deviation of the photograph to the generated image.

    In each opponent axis x of l = (R+G+B)/sqrt 3, a = (R+G-2B)/sqrt 6, b = (R-G)/sqrt 2 the
    result is ``(x - mean_generated) * std_photo / std_generated + mean_photo``, as in Reinhard et
    al., "Color transfer between images" (2001), without their logarithm: the whole is then one
    affine map of RGB. The statistics are those of pixels outside the mask and at most ``ring_px``
    from it, where both images show the same place.

    Args:
        generated: uint8 or float32 [h, w, 3], 0..255, finite.
        photo: uint8 [h, w, 3].
        mask: [h, w], 1 = take the generated face; bool, uint8 (nonzero) or float32 (one half and
            above).
        ring_px: Width of the ring in pixels.
        valid: [h, w], 0 = the generated pixel must not be measured.
        box: (x0, y0, x1, y1): ``generated``, ``mask`` and ``valid`` cover only this part of the
            photograph.

    Returns:
        float32, of the shape of ``generated``; not clipped. Without any pixel to measure,
        ``generated`` itself.

    Raises:
        ShapeError: A shape, dtype or range is wrong.
    """
    where = checked_images(generated, photo, mask, valid=valid, box=box)
    if ring_px < 1:
        raise ShapeError(f"`ring_px` must be at least 1, got {ring_px}.")
    affine = ring_affine(where, ring_px)
    height, width = where.mask.shape
    out = np.empty((height, width, 3), np.float32)
    _C.colour_apply(where.photo, where.generated, affine, out, where.corner, (0, 0, width, height))
    return out


def ring_affine(where: Region, ring_px: int) -> npt.NDArray[np.float32]:
    """The colour match as an affine map [3, 4] of RGB."""
    bounds = mask_bounds(where.mask)
    if bounds[2] == 0:
        return np.eye(3, 4, dtype=np.float32)
    region = where.grown(bounds, ring_px)
    mask = where.cut(where.mask, region)
    distance = distance_to_mask(mask)
    ring = (distance > 0) & (distance <= ring_px)
    if where.valid is not None:
        ring &= where.cut(where.valid, region) != 0
    workspace = np.empty((ring.shape[0], _C.COLOUR_SUMS), np.float64)
    sums = _C.colour_sums(
        where.photo, where.generated, byte_mask(ring), workspace, where.corner, region
    )
    return _affine(np.asarray(sums))


def _affine(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    count = sums[0]
    if count == 0:
        return np.eye(3, 4, dtype=np.float32)
    mean = sums[1:7] / count
    std = np.sqrt(np.maximum(sums[7:13] / count - mean**2, 0.0))
    gain = np.ones(3)
    textured = std[3:] > _FLAT
    gain[textured] = np.clip(std[:3][textured] / std[3:][textured], 1 / MOST_GAIN, MOST_GAIN)
    matrix = _AXES.T @ (gain[:, np.newaxis] * _AXES)
    offset = _AXES.T @ (mean[:3] - gain * mean[3:])
    affine: npt.NDArray[Any] = np.column_stack([matrix, offset]).astype(np.float32)
    return np.ascontiguousarray(affine)
