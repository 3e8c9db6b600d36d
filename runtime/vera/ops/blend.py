"""Blending: a generated face replaces the photo inside a mask; nothing changes outside it."""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from vera import _C
from vera.errors import ShapeError
from vera.ops.arrays import array_module, stream_of
from vera.ops.blend_region import (
    Box,
    Generated,
    Mask,
    Photo,
    Region,
    checked_images,
    distance_inside,
    mask_bounds,
)
from vera.ops.colour_match import ring_affine

Method = Literal["poisson", "multiband"]
Screening = float | npt.NDArray[np.float32]

TOLERANCE = 0.1  # grey levels: estimated error of the solver before rounding to 8 bits
MAX_CYCLES = 60  # ten times what the masks of the tests need; a bound, not a setting


def blend(
    generated: Generated,
    photo: Photo,
    mask: Mask,
    *,
    method: Method = "poisson",
    screening: Screening = 0.0,
    colour_match: bool = False,
    ring_px: int = 16,
    bands: int | None = None,
    band_px: int = 16,
    valid: Mask | None = None,
    box: Box | None = None,
    out: Photo | None = None,
) -> Photo:
    """Put the generated image into the photograph inside ``mask``, without a visible seam.

    Outside the mask the result is the photograph, bit for bit. Time and memory follow the mask's
    bounding box.

    ``"poisson"`` adds to the generated image s a correction c that meets the photograph t at the
    mask's edge: ``sum_q (c_p - c_q) + screening_p c_p = 0`` in the mask over the 4-neighbours q,
    c = t - s just outside. ``screening = 0`` is seamless cloning (Perez et al., "Poisson image
    editing", 2003) in its membrane form; with a positive screening the correction decays over
    about ``1 / sqrt(screening)`` pixels, so that the generated tone survives inside (Bhat et al.,
    "Fourier analysis of the 2D screened Poisson equation for gradient domain problems", 2008). At
    the border of the photograph, c has no normal derivative. Where no pixel outside the mask is
    valid (a mask over the whole photograph), c = 0. Solved by multigrid to about 0.1 grey level,
    then rounded.

    ``"multiband"`` mixes the bands of both images over distances of their own scale (Burt &
    Adelson, "A multiresolution spline with application to image mosaics", 1983). The transition
    lies inside the mask: at ``band_px`` and more from its edge the result is the generated image
    exactly. Parts of the mask narrower than ``band_px`` keep something of the photograph, so
    choose it well below the width of what must go.

    ``"poisson"`` without ``colour_match`` also takes CuPy arrays, and runs on the current stream.

    Args:
        generated: uint8 or float32 [h, w, 3], 0..255, finite.
        photo: uint8 [h, w, 3].
        mask: [h, w], 1 = take the generated face; bool, uint8 (nonzero) or float32 (one half and
            above).
        method: ``"poisson"`` or ``"multiband"``.
        screening: At least 0, or one value per pixel, float32 [h, w]. Only for ``"poisson"``.
        colour_match: First match the tone in a ring of ``ring_px`` around the mask, see
            `vera.ops.colour_match`.
        ring_px: Width of that ring.
        bands: Levels of the pyramid; by default as many as ``band_px`` leaves room for. Only for
            ``"multiband"``.
        band_px: Depth of the transition. Only for ``"multiband"``.
        valid: [h, w], 0 = the generated pixel means nothing outside the mask: the Poisson
            equation then has no boundary value there, and the ring leaves it out.
        box: (x0, y0, x1, y1): ``generated``, ``mask``, ``valid`` and a map of screening cover
            only this part of the photograph. It must hold the mask and, for the same result as
            without a box, a margin of one pixel, or of ``ring_px`` with ``colour_match``, or of
            ``band_px``.
        out: uint8 [h, w, 3], written and returned; may be ``photo`` itself. Never changed by
            default: a copy.

    Returns:
        uint8 [h, w, 3].

    Raises:
        ShapeError: A shape, dtype or range is wrong.
    """
    where = checked_images(generated, photo, mask, valid=valid, box=box)
    result = _result_array(where.photo, out)
    bounds = mask_bounds(where.mask)
    if bounds[2] == 0:
        return result
    where.require_margin(bounds)
    if method not in ("poisson", "multiband"):
        raise ShapeError(f'`method` must be "poisson" or "multiband", got {method!r}.')
    if method == "poisson":
        screening = _checked_screening(screening, where)
        margin = 1
    else:
        margin = band_px
    region = where.grown(bounds, margin)
    if colour_match:
        where, region, screening = _matched(where, region, screening, ring_px)
    if method == "poisson":
        _poisson(where, region, result, screening)
    else:
        _multiband(where, region, result, bands, band_px)
    return result


def poisson_correction(
    generated: Generated,
    photo: Photo,
    mask: Mask,
    *,
    screening: Screening = 0.0,
    valid: Mask | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[npt.NDArray[np.float32], float]:
    """The correction c of `blend` before rounding, for inspection.

    Args:
        generated: As for `blend`.
        photo: As for `blend`.
        mask: As for `blend`.
        screening: As for `blend`.
        valid: As for `blend`.
        tolerance: Estimated error to stop at, in grey levels.

    Returns:
        float32 [h, w, 3], 0 outside the mask, and the estimated largest error.

    Raises:
        ShapeError: A shape, dtype or range is wrong.
    """
    where = checked_images(generated, photo, mask, valid=valid, box=None)
    correction = np.zeros(where.photo.shape, np.float32)
    bounds = mask_bounds(where.mask)
    if bounds[2] == 0:
        return correction, 0.0
    x0, y0, x1, y1 = region = where.grown(bounds, 1)
    part = np.empty((y1 - y0, x1 - x0, 3), np.float32)
    screening = _checked_screening(screening, where)
    error = _poisson(where, region, photo.copy(), screening, part, tolerance)
    correction[y0:y1, x0:x1] = part
    return correction, error


def _result_array(photo: Photo, out: Photo | None) -> Photo:
    if out is None:
        return photo.copy()
    if out.shape != photo.shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ShapeError(
            f"`out` must be C-contiguous uint8 {list(photo.shape)} like the photograph, "
            f"got {out.dtype} {list(out.shape)}."
        )
    if not array_module(photo).shares_memory(out, photo):
        out[...] = photo
    return out


def _checked_screening(screening: Screening, where: Region) -> Screening:
    if isinstance(screening, int | float):
        if not 0.0 <= screening < math.inf:
            raise ShapeError(f"`screening` must be finite and at least 0, got {screening}.")
        return float(screening)
    if screening.shape != where.mask.shape:
        raise ShapeError(
            f"`screening` must be a number or {list(where.mask.shape)}, "
            f"got {list(screening.shape)}."
        )
    if not (float(screening.min()) >= 0.0 and math.isfinite(float(screening.max()))):
        raise ShapeError("`screening` must be finite and at least 0; got a value that is not.")
    module = array_module(screening)
    values: npt.NDArray[np.float32] = module.ascontiguousarray(screening, np.float32)
    return values


def _matched(
    where: Region, region: Box, screening: Screening, ring_px: int
) -> tuple[Region, Box, Screening]:
    """The region alone, with the generated image's colours matched."""
    if ring_px < 1:
        raise ShapeError(f"`ring_px` must be at least 1, got {ring_px}.")
    x0, y0, x1, y1 = region
    matched = np.empty((y1 - y0, x1 - x0, 3), np.float32)
    affine = ring_affine(where, ring_px)
    _C.colour_apply(where.photo, where.generated, affine, matched, where.corner, region)
    inner = Region(
        where.photo,
        matched,
        where.cut(where.mask, region),
        None if where.valid is None else where.cut(where.valid, region),
        (where.corner[0] + x0, where.corner[1] + y0),
    )
    if not isinstance(screening, float):
        screening = where.cut(screening, region)
    return inner, (0, 0, x1 - x0, y1 - y0), screening


def _poisson(
    where: Region,
    region: Box,
    out: Photo,
    screening: Screening,
    correction: npt.NDArray[np.float32] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    x0, y0, x1, y1 = region
    size = _C.poisson_workspace_bytes(x1 - x0, y1 - y0)
    workspace = array_module(where.photo).empty(size, np.uint8)
    _, error = _C.poisson_blend(
        where.photo,
        where.generated,
        where.mask,
        where.valid,
        None if isinstance(screening, float) else screening,
        out,
        correction,
        workspace,
        where.corner,
        region,
        where.photo_borders(mask_bounds(where.mask)),
        screening if isinstance(screening, float) else 0.0,
        tolerance,
        MAX_CYCLES,
        stream_of(where.photo),
    )
    return error


def _multiband(where: Region, region: Box, out: Photo, bands: int | None, band_px: int) -> None:
    if band_px < 4:
        raise ShapeError(f"`band_px` must be at least 4, got {band_px}; use Poisson for less.")
    x0, y0, x1, y1 = region
    # The filters of n bands reach about 2 * 2**n pixels; the transition has band_px / 2 each way.
    room = max(1, round(math.log2(band_px / 4)))
    deepest = max(1, int(math.log2(max(2, min(x1 - x0, y1 - y0)))))
    count = min(bands if bands is not None else room, deepest, _C.MULTIBAND_MAX_BANDS)
    if count < 1:
        raise ShapeError(f"`bands` must be at least 1, got {bands}.")
    distance = distance_inside(where.cut(where.mask, region))
    workspace = np.empty(_C.multiband_workspace_bytes(x1 - x0, y1 - y0, count), np.uint8)
    _C.multiband_blend(
        where.photo,
        where.generated,
        distance,
        out,
        workspace,
        where.corner,
        region,
        count,
        float(band_px),
    )
