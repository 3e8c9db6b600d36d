"""Fitting a generated face to the photograph, in the crop: tone, outline, copies of kept parts."""

import numpy as np
import numpy.typing as npt

from vera.contract import CLASSES
from vera.region.replaced import IN_PLACE, Replacing, generated_mask
from vera.rendering.colour import match_colour
from vera.rendering.strands import stray_hair

_SKIN = (CLASSES.index("skin"), CLASSES.index("nose"))
_FACE = (*_SKIN, *(CLASSES.index(name) for name in ("eye", "brow", "mouth", "glasses")))
_HAIR = (CLASSES.index("hair"), CLASSES.index("hat"))
_BACKGROUND, _NECK, _CLOTH, _EAR = (
    CLASSES.index(name) for name in ("background", "neck", "cloth", "ear")
)

# Parts that leave a second copy beside the kept one if the two do not lie on each other exactly.
_DOUBLING = tuple(CLASSES.index(name) for name in ("eye", "brow", "mouth"))

# Hair and skin mix this far on both sides of their border. Crop pixels.
_BORDER = 6

# Smaller parts of hair or background in the new face are errors of its part map. Crop pixels.
_SMALLEST_PART = 200

# Widths of the blurs that carry colours into a gap, in crop pixels; the finest that reaches it is
# used.
_REACHES = (1.5, 3.0, 6.0, 12.0, 24.0)
# Old hair leaves larger gaps than an old face.
_FAR_REACHES = (48.0,)


def fit_face(
    generated: npt.NDArray[np.uint8],
    generated_labels: npt.NDArray[np.uint8],
    original: npt.NDArray[np.uint8],
    original_labels: npt.NDArray[np.uint8],
    kept_classes: tuple[int, ...] = (),
    replacing: Replacing = IN_PLACE,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Give the generated crop the photograph's light and outline.

    Where the photograph shows face but the new head shows hair or background, the new face is
    continued into its hair, and the photograph's background into the new background: neither the
    old outline nor a patch of foreign hair is left. New hair that was asked for stays; what it
    leaves free of the old hair continues the photograph's background and cloth. A kept part is
    generated as well; that copy is smoothed away.

    Args:
        generated: uint8 [s, s, 3].
        generated_labels: uint8 [s, s].
        original: uint8 [s, s, 3], the photograph's crop.
        original_labels: uint8 [s, s].
        kept_classes: Classes of the kept region (``Keep.classes``).
        replacing: What the generated picture takes over.

    Returns:
        The crop float32 [s, s, 3], 0..255, and the mask float32 [s, s] for ``compose.Replacement``.

    Raises:
        RefusedError: ``face-unclear``: hardly any face in the photograph's part map.
    """
    crop = match_colour(generated, original, generated_labels, original_labels, tone=replacing.tone)
    mask = generated_mask(original_labels, generated_labels, replacing)
    if replacing.hair and not replacing.background:
        mask = np.maximum(mask, stray_hair(original, original_labels).astype(np.float32))
    crop = _with_skin(crop, generated_labels, original_labels, kept_classes, replacing)
    if replacing.background:
        return crop, mask
    photo, free = original.astype(np.float32), mask < 0.5
    if replacing.hair:
        return _with_scenery(crop, photo, generated_labels, original_labels, free), mask
    near = _grown(~free, _BORDER)
    # The outermost pixel of the new face is already mixed with what was generated beside it.
    near &= ~_shrunk(np.isin(generated_labels, _FACE), 1)
    # New hair beside the face (over an old ear, say) is not the photograph's: that is continued.
    beside = np.isin(generated_labels, _HAIR) & ~np.isin(original_labels, (*_FACE, *_HAIR))
    scenery = np.isin(original_labels, (_BACKGROUND, *_HAIR)) & free
    crop = _continued(crop, photo, _shrunk(scenery, 1), beside & near)
    beyond = _grown(_large(generated_labels == _BACKGROUND), 2) & near
    scenery = (original_labels == _BACKGROUND) & free
    return _continued(crop, photo, _shrunk(scenery, 1), beyond), mask


def _with_skin(
    crop: npt.NDArray[np.float32],
    generated: npt.NDArray[np.uint8],  # labels
    original: npt.NDArray[np.uint8],
    kept: tuple[int, ...],
    replacing: Replacing,
) -> npt.NDArray[np.float32]:
    """The new skin where foreign hair, cloth beside the new neck, or a kept part's copy lies."""
    foreign = _grown(np.isin(generated, _among(_DOUBLING, kept)), 3)
    if not replacing.hair:
        hair = _large(np.isin(generated, _HAIR)) & np.isin(original, _FACE)
        foreign |= _grown(hair, _BORDER)
    skin = np.isin(generated, _SKIN)
    if not (replacing.tone or replacing.background):
        skin |= generated == _NECK
        bare = (original == _NECK) & ~np.isin(generated, (_NECK, *_FACE, *_HAIR))
        foreign |= _grown(bare, _BORDER) & np.isin(original, (_NECK, *_FACE))
    return _continued(crop, crop, _shrunk(skin, _BORDER) & ~foreign, foreign)


def _with_scenery(
    crop: npt.NDArray[np.float32],
    photo: npt.NDArray[np.float32],
    generated: npt.NDArray[np.uint8],  # labels
    original: npt.NDArray[np.uint8],
    free: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """The photograph's background and cloth where the new head leaves them free."""
    person = _shrunk(np.isin(generated, (*_FACE, *_HAIR, _NECK, _EAR)), 1)
    # Beyond the border, too: the blend takes the difference of the two pictures there for tone.
    near = _grown(~free, _BORDER)
    for part in (_CLOTH, _BACKGROUND):
        gap = _grown(_large(generated == part), 2) & ~person & near
        known = _shrunk((original == part) & free, 2)
        crop = _continued(crop, photo, known, gap, (*_REACHES, *_FAR_REACHES))
    return crop


def _large(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The parts of ``mask`` that are no specks of the parser."""
    import cv2

    _, numbers, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), None)
    large = statistics[:, cv2.CC_STAT_AREA] >= _SMALLEST_PART
    large[0] = False
    return np.asarray(large[numbers], dtype=np.bool_)


def _among(classes: tuple[int, ...], kept: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(part for part in classes if part in kept)


def _continued(
    image: npt.NDArray[np.float32],  # [s, s, 3]
    colours: npt.NDArray[np.float32],  # [s, s, 3]
    known: npt.NDArray[np.bool_],  # [s, s]
    gap: npt.NDArray[np.bool_],  # [s, s]
    reaches: tuple[float, ...] = _REACHES,
) -> npt.NDArray[np.float32]:
    """``image`` with ``gap`` filled by the ``colours`` of the nearest ``known`` pixels.

    Normalised convolution (Knutsson and Westin 1993), coarse to fine, with a soft edge. What no
    blur reaches stays.
    """
    import cv2

    fill, weight = image.copy(), known.astype(np.float32)
    around = _grown(gap, 3)
    for reach in reversed(reaches):
        spread = cv2.GaussianBlur(weight, (0, 0), reach)[around]
        blurred = cv2.GaussianBlur(colours * weight[..., np.newaxis], (0, 0), reach)[around]
        # From 2 % (the far tail of few pixels, where coarser is better) to 30 % in a soft step.
        full = 0.3 if reach < reaches[-1] else 0.021
        trust = np.clip((spread - 0.02) / (full - 0.02), 0.0, 1.0)[:, np.newaxis]
        fill[around] += trust * (blurred / np.maximum(spread, 1e-6)[:, np.newaxis] - fill[around])
    share = cv2.GaussianBlur(gap.astype(np.float32), (0, 0), 1.2)[..., np.newaxis]
    return np.asarray(image + share * (fill - image), dtype=np.float32)


def _grown(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    import cv2

    side = 2 * radius + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(np.bool_)


def _shrunk(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    return ~_grown(~mask, radius)
