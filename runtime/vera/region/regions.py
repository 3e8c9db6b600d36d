"""What is kept, at the photograph's own resolution: its pixels stay, bit for bit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.errors import RefusedError
from vera.pixels.align import Box, Matrix, face_scale, mask_to_photo
from vera.pixels.labels import to_labels
from vera.pixels.morphology import filled, near, parts, widened
from vera.region.outline import class_mask, face_share
from vera.region.replaced import REPLACED, require_face
from vera.request.keep import REGIONS, Keep, class_numbers

# What recognition lives on, in people and in machines; the skin around it says far less.
_FEATURES = class_numbers("eye", "brow", "mouth", "nose", "glasses")
_BESIDE = class_numbers("ear", "earring")

# Skin and hair border on everything: they leave the other parts of the face free, however far they
# grow.
_BROAD = ("skin", "hair")

# The skin gives the features this much room besides, and ends where it would be narrower than twice
# the second figure. The edge of what is kept would otherwise draw the old eyes and lips, and leave
# no place for new ones of another shape. Crop pixels, of which one is about a millimetre.
_ROOM = 5.0
_NARROW = 4.0

# A region must cover this many crop pixels to count as seen: a closed eye has about 60, a speck
# under 15. A rim of an ear under the hair is no ear (half of one has 190), and stubble no hair.
_SMALLEST_REGION = 24
_SMALLEST = {"ears": 100, "hair": 200}

# Parts of a region smaller than this share of its largest part are specks of the parser. Locks that
# ear and shoulder part from the head are smaller, and still hair.
_SPECK_SHARE = 0.15
_HAIR_SPECK_SHARE = 0.02

# Hair further from the face is another person's. Crop pixels.
_HAIR_REACH = 24

# The kept region grows by this much, so that the edge of a lip lies inside it. Crop pixels.
_MARGIN = 1.5

# Above this share of the face there is no other person to be seen in the rest, unless at most the
# second share of the features is kept: skin alone does not make the person.
_LARGEST_KEPT_SHARE = 0.6
_LARGEST_FEATURE_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Parsed:
    """The patient's face in its crop, and where the crop lies.

    Attributes:
        shares: float32 [13, s, s] class probabilities.
        labels: uint8 [s, s].
        face: bool [s, s], without a neighbour's.
        matrix: Photo pixels to crop pixels.
        box: The photo pixels that the crop covers.
    """

    shares: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    face: npt.NDArray[np.bool_]
    matrix: Matrix
    box: Box


def kept_mask(
    shares: npt.NDArray[np.float32],  # [13, s, s] class probabilities of the photograph's crop
    keep: Keep,
    matrix: Matrix,
    box: Box,
    margin: float | None = None,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """The named regions at the photograph's own resolution.

    A region's probability is resampled and then cut at one half, so its edge is smooth at any
    size.

    Args:
        shares: Class probabilities.
        keep: The request; a mask or polygons of it are not looked at.
        matrix: Photo pixels to crop pixels.
        box: The photo pixels that the crop covers.
        margin: By how many photo pixels the regions grow; None takes the built-in 1.5 crop pixels.

    Raises:
        RefusedError: ``region-not-found``, ``nothing-to-anonymise``, or ``face-unclear``.
    """
    kept = np.zeros(box.shape, dtype=np.bool_)
    if not keep.regions:
        return kept
    labels = to_labels(shares)
    parsed = _Parsed(shares, labels, require_face(labels), matrix, box)
    reach = _MARGIN * face_scale(matrix) if margin is None else margin
    for name in keep.regions:
        region = widened(_region(parsed, name), reach)
        kept |= _beside_others(region, parsed, name) if name in _BROAD else region
    _check_share(kept, shares, matrix, box)
    return kept


def kept_from_file(
    mask: npt.NDArray[np.bool_],  # [h, w] of the photograph
    shares: npt.NDArray[np.float32],  # [13, s, s]
    matrix: Matrix,
    box: Box,
    margin: float | None = None,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """The part of a user's mask that lies over this face, grown by ``margin`` photo pixels.

    Raises:
        RefusedError: ``region-not-found`` if the mask does not touch the face, or
            ``nothing-to-anonymise``.
    """
    kept = _grown(mask, box, margin) if margin else box.cut(mask).copy()
    if not (kept & class_mask(shares, REPLACED, matrix, box)).any():
        raise RefusedError(
            "region-not-found",
            "The mask does not touch the face; mark a part of the largest face in the upright "
            "photograph, or keep none.",
        )
    _check_share(kept, shares, matrix, box)
    return kept


def _grown(mask: npt.NDArray[np.bool_], box: Box, margin: float) -> npt.NDArray[np.bool_]:
    """The part of a photo-sized mask [h, w] in the box, and what grows into it from beside it."""
    rim = int(np.ceil(margin))
    top, left = max(0, box.top - rim), max(0, box.left - rim)
    wider = widened(mask[top : box.bottom + rim, left : box.right + rim], margin)
    height, width = box.shape
    return wider[box.top - top :, box.left - left :][:height, :width].copy()


def _region(parsed: _Parsed, name: str) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """One named region over the box, without specks and holes."""
    classes = REGIONS[name]
    # A neighbour's mouth in the crop is not the patient's; hair may hang beside the face.
    own = near(parsed.face, _HAIR_REACH) if name == "hair" else parsed.face
    # The region's first class must itself be seen: sunglasses show no eyes.
    seen = _clean(parsed.labels == classes[0], own, name)
    if int(seen.sum()) < _SMALLEST.get(name, _SMALLEST_REGION):
        raise RefusedError(
            "region-not-found",
            f"The region to keep ({name}) was not found in the face; choose another one or give a "
            "mask file.",
        )
    share = parsed.shares[list(classes)].sum(axis=0, dtype=np.float32)
    whole = filled(_clean(share >= 0.5, own, name))
    share = np.where(near(whole, 2), np.where(whole, np.maximum(share, 0.5), share), 0.0)
    return _over_box(share.astype(np.float32), parsed)


def _over_box(
    share: npt.NDArray[np.float32],  # [s, s]
    parsed: _Parsed,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """Where a share of the crop is at least one half, with a smooth edge at any size."""
    import cv2

    smooth = cv2.GaussianBlur(share, (0, 0), 0.8).astype(np.float32)
    return mask_to_photo(smooth, parsed.matrix, parsed.box) >= 0.5


def _clean(
    mask: npt.NDArray[np.bool_], own: npt.NDArray[np.bool_], name: str = ""
) -> npt.NDArray[np.bool_]:
    """The parts of ``mask`` that touch the patient's ``own`` area, without the parser's specks."""
    numbers, _ = parts(mask)
    return _without_specks(mask & np.isin(numbers, numbers[own & mask]), name)


def _without_specks(mask: npt.NDArray[np.bool_], name: str) -> npt.NDArray[np.bool_]:
    numbers, sizes = parts(mask)
    share = _HAIR_SPECK_SHARE if name == "hair" else _SPECK_SHARE
    large = sizes >= max(1.0, share * float(sizes.max(initial=0)))
    large[0] = False
    return large[numbers]


def _beside_others(
    region: npt.NDArray[np.bool_],  # [box h, box w]
    parsed: _Parsed,
    name: str,
) -> npt.NDArray[np.bool_]:  # [box h, box w]
    """A broad region without the other parts of the face, and for skin without room for them."""
    features = _parts_of(parsed, _FEATURES)
    others = _parts_of(parsed, _BESIDE)
    if name == "hair":
        return region & ~features & ~others
    scale = face_scale(parsed.matrix)
    free = region & ~widened(features, _ROOM * scale) & ~others
    # Opening: strips between brow and eye, or nose and lip, would be left of the old face alone.
    broad = widened(~widened(~free, _NARROW * scale), _NARROW * scale)
    return _without_specks(broad, name)


def _parts_of(parsed: _Parsed, classes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The patient's parts of these classes over the box, without specks."""
    found = [_clean(parsed.labels == part, parsed.face) for part in classes]
    return _over_box(np.logical_or.reduce(found).astype(np.float32), parsed)


def _check_share(
    kept: npt.NDArray[np.bool_], shares: npt.NDArray[np.float32], matrix: Matrix, box: Box
) -> None:
    if not kept.any():
        return
    covered = face_share(kept, shares, matrix, box)
    if covered <= _LARGEST_KEPT_SHARE:
        return
    if face_share(kept, shares, matrix, box, _FEATURES) > _LARGEST_FEATURE_SHARE:
        raise RefusedError(
            "nothing-to-anonymise",
            f"The region to keep covers {covered:.0%} of the face, more than the "
            f"{_LARGEST_KEPT_SHARE:.0%} that leave somebody to anonymise; keep less.",
        )
