"""What is kept and what is replaced: the user's request, and the masks that carry it out.

Kept means: the photograph's own pixels, bit for bit. Everything that shows who it is and is not
kept is replaced.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.align import Box, Matrix, face_scale, mask_to_photo
from vera.contract import CLASSES, CROP_SIZE
from vera.errors import RefusedError, UsageError


def _classes(*names: str) -> tuple[int, ...]:
    return tuple(CLASSES.index(name) for name in names)


# Worn glasses belong to the kept eyes: through them the eyes are seen.
REGIONS: dict[str, tuple[int, ...]] = {
    "mouth": _classes("mouth"),
    "nose": _classes("nose"),
    "eyes": _classes("eye", "glasses"),
    "brows": _classes("brow"),
}

# What is replaced. Glasses and earrings are: worn on the replaced parts, and often recognised.
REPLACED = _classes("skin", "eye", "brow", "mouth", "nose", "ear", "glasses", "earring")

# The part of it that a recogniser looks at; how much of it is kept decides whether anything is left
# to do.
_FACE = _classes("skin", "eye", "brow", "mouth", "nose", "glasses")

# In front of the face: stays even where the new face would lie.
_IN_FRONT = _classes("hair", "hat")

# A region must cover this many crop pixels to count as seen: a closed eye has about 60, a speck
# under 15.
_SMALLEST_REGION = 24

# Parts of a region smaller than this share of its largest part are specks of the parser.
_SPECK_SHARE = 0.15

# The kept region grows by this much, so that the edge of a lip lies inside it. Crop pixels.
_MARGIN = 1.5

# Above this share of the face there is no other person to be seen in the rest.
_LARGEST_KEPT_SHARE = 0.6

# The replaced area grows by this much over everything but hair, so that no rim of the face is left.
# Crop pixels.
_DILATION = 2

# Enclosed spots of other classes inside the face below this many crop pixels are errors of the
# parser.
_LARGEST_HOLE = 200

# A face that covers less of its crop than this was not understood; an upright one covers a third.
_SMALLEST_FACE = 0.05

# Parts of the face further than this from its largest part are another person's. Crop pixels.
_REACH = 24


@dataclass(frozen=True, slots=True)
class Keep:
    """The region to keep.

    Attributes:
        regions: Names out of :data:`REGIONS`, in its order, each once.
        mask: A mask file instead.
    """

    regions: tuple[str, ...] = ()
    mask: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """Read ``none``, region names joined by commas or plus signs, or the path of a mask file.

        Raises:
            UsageError: Neither a known name nor an existing file.
        """
        names = [name.strip().lower() for name in text.replace("+", ",").split(",")]
        names = [name for name in names if name]
        if names == ["none"]:
            return cls()
        if names and all(name in REGIONS for name in names):
            return cls(tuple(name for name in REGIONS if name in names))
        if text.strip() and Path(text).is_file():
            return cls(mask=Path(text))
        unknown = next((name for name in names if name not in REGIONS), text)
        raise UsageError(
            f"'{unknown}' is no region to keep; use none, {', '.join(REGIONS)}, several of them "
            "joined by commas, or the path of a mask file."
        )

    @property
    def name(self) -> str:
        """``none``, ``mask`` or the regions joined by commas."""
        if self.mask is not None:
            return "mask"
        return ",".join(self.regions) or "none"

    @property
    def nothing(self) -> bool:
        """Whether all of the face is replaced."""
        return not self.regions and self.mask is None

    @property
    def classes(self) -> tuple[int, ...]:
        """The kept classes; none for a mask file."""
        return tuple(part for name in self.regions for part in REGIONS[name])


def probabilities(
    logits: npt.NDArray[np.float32], size: int = CROP_SIZE
) -> npt.NDArray[np.float32]:
    """Class probabilities of a part map: softmax, then linear resampling to ``size``.

    Args:
        logits: float32 [13, s, s] or [1, 13, s, s].
        size: Side of the result.

    Returns:
        float32 [13, size, size]; each pixel sums to 1.
    """
    import cv2

    planes = logits[0] if logits.ndim == 4 else logits
    powers = np.exp(planes - planes.max(axis=0, keepdims=True))
    shares = powers / powers.sum(axis=0, keepdims=True)
    if shares.shape[1:] == (size, size):
        return np.asarray(shares, dtype=np.float32)
    resized = [cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR) for plane in shares]
    return np.asarray(resized, dtype=np.float32)


def to_labels(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The likeliest class of each pixel: [13, s, s] to uint8 [s, s]."""
    return np.asarray(shares.argmax(axis=0), dtype=np.uint8)


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


def require_face(
    labels: npt.NDArray[np.uint8],  # [s, s]
) -> npt.NDArray[np.bool_]:  # [s, s]
    """The part map's own face, without its holes and without a neighbour's.

    Raises:
        RefusedError: ``face-unclear``: hardly any face in the part map.
    """
    face = _main_parts(filled(np.isin(labels, REPLACED)))
    if face.mean() < _SMALLEST_FACE:
        raise RefusedError(
            "face-unclear",
            "The parts of the face could not be told apart; use a sharper or less covered "
            "photograph.",
        )
    return face


def generated_mask(
    original_labels: npt.NDArray[np.uint8],  # [s, s]
    generated_labels: npt.NDArray[np.uint8],  # [s, s]
) -> npt.NDArray[np.float32]:  # [s, s]
    """Where the generated face replaces the photograph, in the crop; kept is not yet taken out.

    Replaced is what was identifying and what is now: where the two outlines disagree the generated
    pixels win, and no rim of the original face survives. Hair and hat of the photograph lie in
    front and stay.

    Returns:
        float32 in [0, 1] with a soft edge; cut it at one half after resampling.

    Raises:
        RefusedError: ``face-unclear``, see :func:`require_face`.
    """
    import cv2

    face = require_face(original_labels)
    front = np.isin(original_labels, _IN_FRONT) & ~face
    replaced = face | _main_parts(np.isin(generated_labels, REPLACED) & ~front & _near(face))
    replaced = filled(replaced)
    grown = cv2.dilate(replaced.astype(np.uint8), _disc(_DILATION)).astype(np.bool_)
    replaced |= grown & ~front
    _clear_border(replaced)
    return cv2.GaussianBlur(replaced.astype(np.float32), (0, 0), 1.0)  # type: ignore[return-value]


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
    around = cv2.dilate(whole.astype(np.uint8), _disc(2)).astype(np.bool_)
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


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    import cv2

    side = 2 * radius + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)


def _parts(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Connected parts: their number per pixel (0 outside), and their sizes (entry 0 is outside)."""
    import cv2

    _, numbers, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), None)
    sizes = statistics[:, cv2.CC_STAT_AREA].astype(np.int32)
    sizes[0] = 0
    return np.asarray(numbers, dtype=np.int32), sizes


def _without_specks(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    numbers, sizes = _parts(mask)
    large = sizes >= max(1.0, _SPECK_SHARE * float(sizes.max(initial=0)))
    large[0] = False
    return large[numbers]


def filled(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask [h, w] with its small enclosed holes closed."""
    numbers, sizes = _parts(~mask)
    small = sizes < _LARGEST_HOLE
    edge = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    small[edge] = False
    small[0] = False
    return mask | small[numbers]


def _near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), _disc(_REACH)).astype(np.bool_)


def _main_parts(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest part and what lies near it, such as ears; not a neighbour's face."""
    numbers, sizes = _parts(mask)
    if not sizes.any():
        return mask
    reached = np.unique(numbers[_near(numbers == int(sizes.argmax()))])
    return np.isin(numbers, reached[reached > 0])


def _clear_border(mask: npt.NDArray[np.bool_]) -> None:
    """The crop's own rim is never replaced: there the blend needs photograph on the other side."""
    mask[:2] = mask[-2:] = False
    mask[:, :2] = mask[:, -2:] = False
