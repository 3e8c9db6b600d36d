"""What is kept, at the photograph's own resolution: its pixels stay, bit for bit."""

import numpy as np
import numpy.typing as npt

from vera.align import Box, Matrix, face_scale, mask_to_photo
from vera.errors import RefusedError
from vera.keep import REGIONS, Keep, class_numbers
from vera.labels import to_labels
from vera.morphology import disc, filled, parts
from vera.replaced import REPLACED

# The part of it that a recogniser looks at; how much of it is kept decides whether anything is left
# to do.
_FACE = class_numbers("skin", "eye", "brow", "mouth", "nose", "glasses")

# A region must cover this many crop pixels to count as seen: a closed eye has about 60, a speck
# under 15.
_SMALLEST_REGION = 24

# Parts of a region smaller than this share of its largest part are specks of the parser.
_SPECK_SHARE = 0.15

# The kept region grows by this much, so that the edge of a lip lies inside it. Crop pixels.
_MARGIN = 1.5

# Above this share of the face there is no other person to be seen in the rest.
_LARGEST_KEPT_SHARE = 0.6


def kept_mask(
    shares: npt.NDArray[np.float32],  # [13, s, s] class probabilities of the photograph's crop
    keep: Keep,
    matrix: Matrix,
    box: Box,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """The kept region at the photograph's own resolution.

    The region's probability is resampled and then cut at one half, so its edge is smooth at any
    size.

    Raises:
        RefusedError: ``region-not-found``, or ``nothing-to-anonymise``.
    """
    kept = np.zeros(box.shape, dtype=np.bool_)
    for name in keep.regions:
        kept |= _region(shares, name, matrix, box)
    _check_share(kept, shares, matrix, box)
    return kept


def kept_from_file(
    mask: npt.NDArray[np.bool_],  # [h, w] of the photograph
    shares: npt.NDArray[np.float32],  # [13, s, s]
    matrix: Matrix,
    box: Box,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """The part of a user's mask that lies over this face.

    Raises:
        RefusedError: ``region-not-found`` if the mask does not touch the face, or
            ``nothing-to-anonymise``.
    """
    kept = box.cut(mask).copy()
    face = mask_to_photo(_share_of(shares, REPLACED), matrix, box) >= 0.5
    if not (kept & face).any():
        raise RefusedError(
            "region-not-found",
            "The mask does not touch the face; mark a part of the largest face or keep none.",
        )
    _check_share(kept, shares, matrix, box)
    return kept


def _share_of(shares: npt.NDArray[np.float32], classes: tuple[int, ...]) -> npt.NDArray[np.float32]:
    total: npt.NDArray[np.float32] = shares[list(classes)].sum(axis=0, dtype=np.float32)
    return total


def _region(
    shares: npt.NDArray[np.float32], name: str, matrix: Matrix, box: Box
) -> npt.NDArray[np.bool_]:
    """One named region over the box, without specks and holes, grown by the margin."""
    import cv2

    classes = REGIONS[name]
    # The region's first class must itself be seen: sunglasses show no eyes.
    seen = _without_specks(to_labels(shares) == classes[0])
    if int(seen.sum()) < _SMALLEST_REGION:
        raise RefusedError(
            "region-not-found",
            f"The region to keep ({name}) was not found in the face; choose another one or give a "
            "mask file.",
        )
    share = _share_of(shares, classes)
    whole = filled(_without_specks(share >= 0.5))
    around = cv2.dilate(whole.astype(np.uint8), disc(2)).astype(np.bool_)
    share = np.where(around, np.where(whole, np.maximum(share, 0.5), share), 0.0)
    smooth = cv2.GaussianBlur(share.astype(np.float32), (0, 0), 0.8)
    kept = mask_to_photo(smooth.astype(np.float32), matrix, box) >= 0.5
    return _widened(kept, _MARGIN * face_scale(matrix))


def _widened(mask: npt.NDArray[np.bool_], reach: float) -> npt.NDArray[np.bool_]:
    """``mask`` and all within ``reach`` pixels of it; works on the neighbourhood only."""
    import cv2

    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return mask
    rim = int(np.ceil(reach)) + 1
    near = (
        slice(max(0, int(rows[0]) - rim), int(rows[-1]) + rim + 1),
        slice(max(0, int(columns[0]) - rim), int(columns[-1]) + rim + 1),
    )
    outside = (~mask[near]).astype(np.uint8)
    wider = mask.copy()
    wider[near] = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5) <= reach
    return wider


def _check_share(
    kept: npt.NDArray[np.bool_], shares: npt.NDArray[np.float32], matrix: Matrix, box: Box
) -> None:
    if not kept.any():
        return
    face = mask_to_photo(_share_of(shares, _FACE), matrix, box) >= 0.5
    covered = int((kept & face).sum()) / max(1, int(face.sum()))
    if covered > _LARGEST_KEPT_SHARE:
        raise RefusedError(
            "nothing-to-anonymise",
            f"The region to keep covers {covered:.0%} of the face, more than the "
            f"{_LARGEST_KEPT_SHARE:.0%} that leave somebody to anonymise; keep less.",
        )


def _without_specks(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    numbers, sizes = parts(mask)
    large = sizes >= max(1.0, _SPECK_SHARE * float(sizes.max(initial=0)))
    large[0] = False
    return large[numbers]
