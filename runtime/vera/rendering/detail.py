"""Pictures finer than the crop: fitted at the crop's size, their detail added again afterwards.

Masks and tolerances are in crop pixels, whatever the size of the generator's picture. A larger
picture is therefore split into two bands (Burt and Adelson 1983): the coarse one is fitted to the
photograph, the fine one is laid over the result where it still shows the generated face.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.contract import CROP_SIZE
from vera.region.replaced import IN_PLACE, Replacing

Image = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]

# The detail fades in over this many crop pixels inside the generated face.
_FADE = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """A generated picture in two bands.

    Attributes:
        crop: uint8 [256, 256, 3], what the crop's pixels can show.
        detail: float32 [s, s, 3], what the picture shows beyond that; None if it is no larger.
    """

    crop: Image
    detail: Tensor | None


def split(picture: Image) -> Bands:
    """Splits a picture [s, s, 3] of any size; a smaller one is enlarged and has no detail."""
    import cv2

    side, size = picture.shape[0], (CROP_SIZE, CROP_SIZE)
    if side == CROP_SIZE:
        return Bands(picture, None)
    method = cv2.INTER_CUBIC if side < CROP_SIZE else cv2.INTER_AREA
    crop = cv2.resize(picture, size, interpolation=method).astype(np.uint8)
    if side < CROP_SIZE:
        return Bands(crop, None)
    return Bands(crop, picture.astype(np.float32) - _enlarged(crop.astype(np.float32), side))


def add_detail(
    fitted: Tensor,  # [256, 256, 3], 0..255
    detail: Tensor,  # [s, s, 3]
    labels: npt.NDArray[np.uint8],  # [256, 256] of the generated picture
    kept: tuple[int, ...] = (),  # classes of which the photograph's own is shown
    replacing: Replacing = IN_PLACE,
) -> Tensor:  # [s, s, 3]
    """The fitted crop with the detail of the face it was made from, at the detail's size.

    None is added where the generator painted a kept part: the fitting has smoothed that away.
    """
    import cv2

    side = detail.shape[0]
    face = np.isin(labels, replacing.classes).astype(np.uint8)
    if replacing.background:
        face[:] = 1
    face[cv2.dilate(np.isin(labels, kept).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0] = 0
    inside = cv2.distanceTransform(face, cv2.DIST_L2, cv2.DIST_MASK_5) / np.float32(_FADE)
    share = _enlarged(np.minimum(inside, 1).astype(np.float32), side)[..., np.newaxis]
    return np.asarray(_enlarged(fitted, side) + share * detail, np.float32)


def _enlarged(planes: Tensor, side: int) -> Tensor:
    import cv2

    return np.asarray(cv2.resize(planes, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
