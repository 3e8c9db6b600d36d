"""Putting the generated face into the photograph so that no seam shows.

Outside the replaced area, and in the kept region, the result is the photograph, bit for bit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.errors import RefusedError, ShapeError
from vera.ops.blend import blend
from vera.pixels.align import Box, Matrix, face_scale, image_to_photo, mask_to_photo, rescaled
from vera.pixels.strips import strips
from vera.rendering.grain import add_grain
from vera.rendering.strands import Strands, strand_share


@dataclass(frozen=True, slots=True)
class ComposeConfig:
    """How the generated face is fitted in.

    Attributes:
        reach: How far the photograph's tone runs into the generated face, in crop pixels.
        mismatch: Difference of the two images, in grey levels, from which a border is taken for a
            real
            edge (hair against skin), over which no tone may run.
        feather: Width of the soft edge inside the replaced area, in crop pixels.
        match_grain: Whether the generated face gets the fine texture of the photograph's skin.
        grain: Texture coarser than this is the face's own, in crop pixels: added as noise, it would
            be blotches.
    """

    reach: float = 16.0
    mismatch: float = 40.0
    feather: float = 1.5
    match_grain: bool = True
    grain: float = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """A generated face and its place.

    Attributes:
        crop: uint8 or float32 [k s, k s, 3], 0..255, the generated face; k is 1, or 2 if refined.
        mask: float32 [s, s], one half and above: take the generated face.
        matrix: float64 [2, 3], photo pixels to crop pixels.
        box: The crop's box in the photograph.
        kept: bool [box h, box w], True: the photograph stays.
        strands: Hair of the photograph that lies in front of the new face; None for none.
        share: float32 [s, s] in [0, 1], how much of the new picture is shown; None for all of it.
    """

    crop: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]
    matrix: Matrix
    box: Box
    kept: npt.NDArray[np.bool_]
    strands: Strands | None = None
    share: npt.NDArray[np.float32] | None = None


def compose(
    photo: npt.NDArray[np.uint8],
    replacement: Replacement,
    *,
    seed: int,
    config: ComposeConfig | None = None,
) -> npt.NDArray[np.uint8]:
    """A copy of the photograph with the face replaced.

    The generated face is resampled to the photograph's resolution, its tone is continued from the
    photograph by a screened Poisson equation (Bhat et al. 2008) except over real edges, and it gets
    the photograph's fine texture. All temporaries are of the replaced area's size.

    Args:
        photo: uint8 [h, w, 3].
        replacement: The new face and where it goes.
        seed: Draws the texture; the same seed gives the same bytes.
        config: Other settings than the default ones.

    Returns:
        uint8 [h, w, 3], equal to ``photo`` outside the replaced area and where ``kept`` is set.

    Raises:
        RefusedError: ``nothing-to-anonymise``: no pixel would change.
        ShapeError: ``kept`` is not of the box's shape.
    """
    config = config or ComposeConfig()
    roi, replaced = _replaced_area(replacement)
    scale = face_scale(replacement.matrix)
    finer = replacement.crop.shape[0] / replacement.mask.shape[0]
    placed = rescaled(replacement.matrix, finer)
    generated = image_to_photo(_to_levels(replacement.crop), placed, roi)
    original = roi.cut(photo)
    blended = blend(
        generated,
        _without_edges(original, generated, config.mismatch),
        replaced,
        method="poisson",
        screening=(1.0 / (config.reach * max(scale, 0.1))) ** 2,
    )
    if config.match_grain:
        coarsest = max(config.grain * scale, 0.8)
        blended = add_grain(blended, original, replaced, seed=seed, coarsest=coarsest)
    result = photo.copy()
    share = _inside(replaced, config.feather * scale)
    if replacement.strands is not None:
        share *= 1 - strand_share(original, replacement.strands, replacement.matrix, roi)
    if replacement.share is not None:
        # By what is left out: beyond the crop's outermost pixels that is nothing.
        share *= 1 - mask_to_photo(1 - replacement.share, replacement.matrix, roi)
    _mix(roi.cut(result), blended, share)
    return result


def kept_difference(
    original: npt.NDArray[np.uint8],  # [h, w, 3]
    output: npt.NDArray[np.uint8],  # [h, w, 3]
    kept: npt.NDArray[np.bool_],  # [h, w]
) -> tuple[int, int]:
    """The proof of equality: pixels compared, and their largest difference in grey levels."""
    if original.shape != output.shape or kept.shape != original.shape[:2]:
        raise ShapeError(
            f"`output` {list(output.shape)} and `kept` {list(kept.shape)} must be of the size of "
            f"the photograph {list(original.shape)}."
        )
    rows = np.flatnonzero(kept.any(axis=1))
    if rows.size == 0:
        return 0, 0
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    before = original[band][kept[band]].astype(np.int16)
    after = output[band][kept[band]].astype(np.int16)
    return int(kept.sum()), int(np.abs(before - after).max())


def _replaced_area(replacement: Replacement) -> tuple[Box, npt.NDArray[np.bool_]]:
    """The smallest box, with a rim, around what is replaced, and the mask in it."""
    box, kept = replacement.box, replacement.kept
    if kept.shape != box.shape:
        raise ShapeError(f"`kept` must be {list(box.shape)} like the box, got {list(kept.shape)}.")
    replaced = mask_to_photo(replacement.mask, replacement.matrix, box) >= 0.5
    replaced &= ~kept
    rows, columns = (np.flatnonzero(replaced.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        raise RefusedError(
            "nothing-to-anonymise", "The region to keep leaves nothing of the face; keep less."
        )
    top, bottom = max(0, int(rows[0]) - 2), int(rows[-1]) + 3
    left, right = max(0, int(columns[0]) - 2), int(columns[-1]) + 3
    inner = replaced[top:bottom, left:right]
    corner = (box.left + left, box.top + top)
    return Box(*corner, corner[0] + inner.shape[1], corner[1] + inner.shape[0]), inner


def _without_edges(
    original: npt.NDArray[np.uint8], generated: npt.NDArray[np.uint8], mismatch: float
) -> npt.NDArray[np.uint8]:
    """The photograph, drawn to the generated image where the two differ by more than tone.

    Its values on the border of the replaced area are what the Poisson equation continues. Dark hair
    beside generated skin is no tone of that skin; without this it would bleed into it.
    """
    softened = np.empty_like(generated)
    for rows in strips(original.shape[0]):
        difference = original[rows].astype(np.float32) - generated[rows]
        strength = np.abs(difference).max(axis=2, keepdims=True) / np.float32(mismatch)
        softened[rows] = _to_levels(generated[rows] + difference * np.exp(-(strength**4)))
    return softened


def _mix(
    target: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8], share: npt.NDArray[np.float32]
) -> None:
    """Put ``source`` into ``target`` where ``share`` is above 0, in that share."""
    for rows in strips(target.shape[0]):
        here = share[rows] > 0
        before = target[rows][here].astype(np.float32)
        change = source[rows][here].astype(np.float32) - before
        target[rows][here] = _to_levels(before + share[rows][here][:, np.newaxis] * change)


def _inside(mask: npt.NDArray[np.bool_], width: float) -> npt.NDArray[np.float32]:
    """0 outside ``mask``, rising to 1 at ``width`` pixels inside it."""
    import cv2

    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.clip(distance / max(width, 1.0), 0.0, 1.0), dtype=np.float32)


def _to_levels(image: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(image), 0.0, 255.0).astype(np.uint8)
