"""Strands of hair: the photograph's hair stays in front of the new skin, strand by strand.

A part map cuts hair from skin by a hard line. In a band below that line each pixel of the
photograph is explained as a mix of the hair's and the skin's colour nearby; the hair's share stays
photograph. This is the two-colour model of alpha matting (Smith and Blinn 1996) with known colours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.contract import CLASSES
from vera.pixels.align import Box, Matrix, image_to_photo, mask_to_photo
from vera.pixels.morphology import filled
from vera.pixels.strips import strips
from vera.region.replaced import IN_PLACE, REPLACED, Replacing

_HAIR = CLASSES.index("hair")
_SKIN = CLASSES.index("skin")
_BACKGROUND = CLASSES.index("background")

# Strands are looked for this far below the hairline. Crop pixels.
_REACH = 11.0
# The hard line itself is softened over this width. Crop pixels.
_RIM = 5.0
# Colours are taken from pixels that are surely one of the two: this far from the border. Crop
# pixels.
_SURE = 4
# Blur that carries both colours over the band. Crop pixels.
_SPREAD = 9.0
# Hair and skin that differ by less, in grey levels (length over three channels), cannot be told
# apart.
_CONTRAST = 40.0
# Shares of hair between which a pixel turns from new skin to the photograph's hair: what is darker
# skin only, such as the shadow under the hair, must not keep the old forehead.
_FROM, _TO = 0.1, 0.65
# Stray hair is looked for this far from the part map's hair, before a background whose mean
# deviation from its own blur of this width is below so many grey levels. Crop pixels.
_STRAY_REACH = 32.0
_EVEN_SPREAD = 12.0
_UNEVEN = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Strands:
    """Where strands may lie, and the two colours there; all in the crop.

    Attributes:
        hair: uint8 [s, s, 3] colour of the hair near each pixel.
        skin: uint8 [s, s, 3] colour of the skin near each pixel.
        band: float32 [s, s], 1 at the hairline, falling to 0; 0 where nothing is to be looked for.
        rim: float32 [s, s], the same on the few pixels next to the hairline only.
    """

    hair: npt.NDArray[np.uint8]
    skin: npt.NDArray[np.uint8]
    band: npt.NDArray[np.float32]
    rim: npt.NDArray[np.float32]


def find_strands(
    original: npt.NDArray[np.uint8],  # [s, s, 3]
    labels: npt.NDArray[np.uint8],  # [s, s]
    replacing: Replacing = IN_PLACE,
) -> Strands | None:
    """The band below the photograph's hairline; None where there is no hair or no skin.

    None, too, where the hair is replaced. Where the new skin has a tone of its own nothing but
    strands is kept: the softened line would show the old tone.
    """
    import cv2

    if replacing.hair:
        return None
    hair, skin = labels == _HAIR, labels == _SKIN
    hair &= ~filled(np.isin(labels, REPLACED))  # specks inside the face are errors, not hair
    kernel = np.ones((2 * _SURE + 1, 2 * _SURE + 1), np.uint8)
    sure_hair, sure_skin = (cv2.erode(m.astype(np.uint8), kernel) for m in (hair, skin))
    if not sure_hair.any() or not sure_skin.any():
        return None
    distance = cv2.distanceTransform((~hair).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    band = np.clip(1.5 * (1 - distance / np.float32(_REACH)), 0, 1) * skin
    band = cv2.GaussianBlur(band.astype(np.float32), (0, 0), 1.0) * skin
    colours, reached = [], np.ones(labels.shape, dtype=np.bool_)
    for sure in (sure_hair, sure_skin):
        weight = sure.astype(np.float32)
        total = cv2.GaussianBlur(weight, (0, 0), _SPREAD)
        blurred = cv2.GaussianBlur(original * weight[..., np.newaxis], (0, 0), _SPREAD)
        colour = blurred / np.maximum(total, 1e-6)[..., np.newaxis]
        colours.append(np.clip(np.rint(colour), 0, 255).astype(np.uint8))
        reached &= total > 1e-3
    rim = (
        cv2.GaussianBlur(np.clip(1 - distance / np.float32(_RIM), 0, 1) * skin, (0, 0), 0.8) * skin
    )
    return Strands(
        colours[0],
        colours[1],
        np.asarray(band * reached, dtype=np.float32),
        np.asarray(rim * reached * replacing.tone, dtype=np.float32),
    )


def stray_hair(
    original: npt.NDArray[np.uint8],  # [s, s, 3]
    labels: npt.NDArray[np.uint8],  # [s, s]
) -> npt.NDArray[np.bool_]:  # [s, s]
    """Strands of hair in front of the background, which the part map does not show.

    They are found before an even background only: in a pattern nothing tells them from it.
    """
    import cv2

    hair, background = labels == _HAIR, labels == _BACKGROUND
    none = np.zeros(labels.shape, np.bool_)
    kernel = np.ones((2 * _SURE + 1, 2 * _SURE + 1), np.uint8)
    sure = cv2.erode(hair.astype(np.uint8), kernel) > 0
    free = cv2.erode(background.astype(np.uint8), kernel) > 0
    if not sure.any() or not free.any():
        return none
    image = original.astype(np.float32)
    for _ in range(2):  # the second time without the strands themselves
        weight = free.astype(np.float32)
        total = np.maximum(cv2.GaussianBlur(weight, (0, 0), _EVEN_SPREAD), 1e-4)[..., np.newaxis]
        behind = cv2.GaussianBlur(image * weight[..., np.newaxis], (0, 0), _EVEN_SPREAD) / total
        off = np.abs(image - behind).max(axis=2)
        free &= off < _CONTRAST / 2
    unevenness = cv2.GaussianBlur(off * free, (0, 0), _EVEN_SPREAD) / total[..., 0]
    axis = image[sure].mean(axis=0) - behind
    length = np.einsum("hwc,hwc->hw", axis, axis)
    share = np.einsum("hwc,hwc->hw", image - behind, axis) / np.maximum(length, 1)
    distance = cv2.distanceTransform((~hair).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    stray = (share > _FROM) & (length > _CONTRAST**2) & (unevenness < _UNEVEN)
    stray &= background & (distance < _STRAY_REACH)
    stray[:4] = stray[-4:] = False  # the crop's rim is never replaced
    stray[:, :4] = stray[:, -4:] = False
    return np.asarray(cv2.dilate(stray.astype(np.uint8), kernel[:3, :3]) > 0)


def strand_share(
    original: npt.NDArray[np.uint8], strands: Strands, matrix: Matrix, box: Box
) -> npt.NDArray[np.float32]:
    """How much of each pixel of ``box`` is hair in front of skin.

    Args:
        original: uint8 [box h, box w, 3], the photograph.
        strands: Of the crop.
        matrix: float64 [2, 3], photo pixels to crop pixels.
        box: A part of the photograph.

    Returns:
        float32 [box h, box w] in [0, 1], 0 away from the hairline.
    """
    share = mask_to_photo(strands.band, matrix, box)
    hair = image_to_photo(strands.hair, matrix, box)
    skin = image_to_photo(strands.skin, matrix, box)
    rim = mask_to_photo(strands.rim, matrix, box)
    for rows in strips(share.shape[0]):
        axis = hair[rows].astype(np.float32) - skin[rows]
        length = np.einsum("hwc,hwc->hw", axis, axis)
        along = np.einsum("hwc,hwc->hw", original[rows].astype(np.float32) - skin[rows], axis)
        part = np.where(length > _CONTRAST**2, along / np.maximum(length, 1), 0)
        step = np.clip((part - _FROM) / (_TO - _FROM), 0, 1)
        # Squared band: right at the hairline the photograph fades out softly, strands or not.
        share[rows] = np.maximum(share[rows] * step * step * (3 - 2 * step), 0.8 * rim[rows] ** 2)
    return share
