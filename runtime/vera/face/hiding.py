"""Painting a region over in an aligned crop, so that a recogniser cannot go by it."""

import numpy as np
import numpy.typing as npt

from vera.pixels.align import Matrix, mask_to_crop, photo_box


def paint_over(
    crop: npt.NDArray[np.uint8], hidden: npt.NDArray[np.bool_], matrix: Matrix
) -> npt.NDArray[np.uint8]:
    """A copy of ``crop`` with a region in the mean colour of the rest.

    Args:
        crop: uint8 [s, s, 3], cut out of a photograph by ``matrix``.
        hidden: bool [h, w], the region in that photograph.
        matrix: Photo pixels to crop pixels.

    Returns:
        uint8 [s, s, 3]; the crop as it was if the region covers nothing of it, or all of it.
    """
    size = len(crop)
    box = photo_box(matrix, size, hidden.shape)
    covered = mask_to_crop(box.cut(hidden), matrix, box, size)
    painted = crop.copy()
    if covered.any() and not covered.all():
        painted[covered] = crop[~covered].mean(0).round().astype(np.uint8)
    return painted
