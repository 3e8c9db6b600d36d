"""Whether the original's face is gone: no rim and no patch of it may stand in the output.

Two signs that a place still shows the photograph, both of which generated skin does not give by
chance: pixels that are equal over a whole window (each generated pixel is composed, toned and
grained), and, where the photograph is finer than the generator, the same fine texture. The second
one also finds an original that shines through, or was merely brightened or compressed again.
"""

import numpy as np
import numpy.typing as npt

from vera.errors import RefusedError, ShapeError
from vera.face.faces import AlignedFace
from vera.pixels.align import face_scale, mask_to_photo
from vera.pixels.morphology import disc
from vera.region.replaced import require_face
from vera.rendering.strands import Strands, strand_share
from vera.report import CoverageReport

Image = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Plane = npt.NDArray[np.float32]

# More of the face than this must not be left: about 22 crop pixels, 5 mm by 4 mm of a face of
# ordinary size. Sound outputs have 0, see docs/gate.md for this and the other figures.
LARGEST_LEFT_SHARE = 0.001

# The composition fades in over 1.5 crop pixels inside the replaced area, so this much of a border
# to hair or to the kept region may be photograph.
_RIM = 2

# A pixel is equal if no channel differs by more grey levels.
_EQUAL = 1

# A place is left if this share of the window around it is equal. Largest share in sound outputs:
# 0.42 at full size, 0.67 in tiny, underexposed and overexposed ones; in a standing strip as wide as
# the window: 1.
_DENSE = 0.8
_WINDOW, _SMALLEST_WINDOW = 3.0, 5  # crop pixels; but at least so many photo pixels

# A place is left if the fine textures in the window around it correlate as much. Largest
# correlation in sound outputs: 0.78; of a face that is 70 % original: 0.93 in the median.
_ALIKE = 0.85
_TEXTURE_WINDOW = 8.0  # crop pixels
_TEXTURE = (0.75, 1.5)  # the octave between these blurs, photo pixels
# With fewer photo pixels per crop pixel the generator itself paints this octave: eyelids match.
_SMALLEST_SCALE = 2.0
# Edges count no more than this many times the median strength of the picture's texture.
_EDGE = 3.0
# Fainter than this in grey levels it is rounding, not texture.
_FAINTEST = 0.25

# Pixels whose share of photographed hair is larger are hair, not face.
_STRAND = 0.25
# Hair over more of the face than this is no strands: then nothing is excused.
_MOST_STRANDS = 0.2


def check_coverage(
    original: Image,
    output: Image,
    face: AlignedFace,
    kept: npt.NDArray[np.bool_],
    strands: Strands | None = None,
) -> CoverageReport:
    """Looks for places of the original's face, outside the kept region, that the output shows.

    Args:
        original: uint8 [h, w, 3], the photograph before any face was replaced.
        output: uint8 [h, w, 3], the finished photograph.
        face: The face as it was.
        kept: bool [h, w], True: the photograph stays.
        strands: Hair left in front of the face; None if there is none, or it was replaced.

    Raises:
        ShapeError: ``output`` or ``kept`` is not of the photograph's size.
        RefusedError: ``face-unclear``, see :func:`vera.region.replaced.require_face`.
    """
    if original.shape != output.shape or kept.shape != original.shape[:2]:
        raise ShapeError(
            f"`output` {list(output.shape)} and `kept` {list(kept.shape)} must be of the size of "
            f"the photograph {list(original.shape)}."
        )
    before, after, part = face.box.cut(original), face.box.cut(output), face.box.cut(kept)
    whole, inner = _face(face)
    asked = whole & ~part
    excused = part | _in_front(before, face, strands, whole)
    checked = inner & ~_grown(excused, _RIM * face_scale(face.matrix))
    left = _standing(before, after, checked, face_scale(face.matrix))
    pixels, count = int(asked.sum()), int(left.sum())
    # Where there is nothing to check nothing is proved.
    return CoverageReport(pixels, count, round(count / pixels, 5) if pixels else 1.0)


def covered(report: CoverageReport) -> bool:
    """Whether the original's face is gone; never true of NaN."""
    return report.share_left <= LARGEST_LEFT_SHARE


def refusal(report: CoverageReport) -> RefusedError:
    """Why a photograph with this report is not written."""
    return RefusedError(
        "face-left",
        f"{report.share_left:.1%} of the original's face is still to be seen outside the kept "
        f"region, at most {LARGEST_LEFT_SHARE:.1%} may be; use a photograph that shows the whole "
        "head, or a less covered face.",
    )


def _face(face: AlignedFace) -> tuple[_Mask, _Mask]:
    """The parser's face over its box, and the same without the rim on which the edge is soft.

    At the crop's own border no rim is taken off: a face that goes on there was cut, not blended.
    """
    import cv2

    part_map = require_face(face.labels).astype(np.uint8)
    inner = cv2.erode(part_map, disc(_RIM), borderType=cv2.BORDER_REPLICATE)
    whole, inside = (
        mask_to_photo(mask.astype(np.float32), face.matrix, face.box) >= 0.5
        for mask in (part_map, inner)
    )
    return whole, inside


def _in_front(original: Image, face: AlignedFace, strands: Strands | None, whole: _Mask) -> _Mask:
    """Photographed hair in front of the face."""
    if strands is None:
        return np.zeros(whole.shape, np.bool_)
    front = strand_share(original, strands, face.matrix, face.box) >= _STRAND
    return front & (int((front & whole).sum()) <= _MOST_STRANDS * int(whole.sum()))


def _standing(before: Image, after: Image, checked: _Mask, scale: float) -> _Mask:
    """Pixels of ``checked`` that show the photograph."""
    import cv2

    equal = cv2.absdiff(before, after).max(axis=2) <= _EQUAL
    # At the ends of the scale every picture is the same.
    equal &= ~((before.min(axis=2) >= 254) | (before.max(axis=2) <= 1))
    side = _odd(_WINDOW * scale, _SMALLEST_WINDOW)
    dense = checked & (_mean(equal.astype(np.float32), side) >= _DENSE)
    standing = equal & checked & cv2.dilate(dense.astype(np.uint8), _square(side)).astype(np.bool_)
    if scale >= _SMALLEST_SCALE:
        standing |= _alike(before, after, checked, _odd(_TEXTURE_WINDOW * scale, 1))
    return np.asarray(standing, np.bool_)


def _alike(before: Image, after: Image, checked: _Mask, side: int) -> _Mask:
    """Where the fine textures of both correlate, seen through ``checked`` only."""
    weight = checked.astype(np.float32)
    ours, theirs = (_texture(image, checked) * weight for image in (after, before))
    both, own, other = (_mean(a * b, side) for a, b in _pairs(ours, theirs))
    share = _mean(weight, side)
    strong = np.minimum(own, other) >= share * np.float32(_FAINTEST**2)
    # Rounding leaves mean squares a little below 0 where there is no texture at all.
    alike = both >= np.float32(_ALIKE) * np.sqrt(np.maximum(own * other, 0))
    return np.asarray(checked & (share >= 0.5) & strong & alike, np.bool_)


def _pairs(ours: _Plane, theirs: _Plane) -> tuple[tuple[_Plane, _Plane], ...]:
    return (ours, theirs), (ours, ours), (theirs, theirs)


def _texture(image: Image, checked: _Mask) -> _Plane:
    """The finest octave of a picture; its edges no stronger than its grain.

    Eyelids and frames of glasses may lie in the same place in both pictures.
    """
    import cv2

    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(luma, (0, 0), blur) for blur in _TEXTURE)
    texture = fine - coarse
    grain = float(np.median(np.abs(texture[checked]))) if checked.any() else 0.0
    limit = _EDGE * max(grain, _FAINTEST)
    return np.asarray(np.clip(texture, -limit, limit), np.float32)


def _grown(mask: _Mask, reach: float) -> _Mask:
    import cv2

    if not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(distance <= reach, np.bool_)


def _mean(plane: _Plane, side: int) -> _Plane:
    import cv2

    return np.asarray(cv2.blur(plane, (side, side)), np.float32)


def _odd(size: float, smallest: int) -> int:
    return max(smallest, round(size)) | 1


def _square(side: int) -> npt.NDArray[np.uint8]:
    return np.ones((side, side), np.uint8)
