"""What is made of a photograph before a face is replaced: its frame, and what of it is kept."""

import numpy as np
import numpy.typing as npt

from vera.case.work import Work
from vera.engines import Engines
from vera.face.detect import Face
from vera.face.faces import AlignedFace, align_face
from vera.face.frame import frame_photo, framed_face, moved_face
from vera.pixels.align import Matrix
from vera.pixels.morphology import near, widened
from vera.region.outline import face_share
from vera.region.regions import kept_from_file, kept_mask
from vera.region.replaced import require_face
from vera.request.keep_margin import Margin
from vera.settings import Settings

Image = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]

# A face that is cut off is painted over with this share of its box more on each side.
_PAINTED = 0.3

# Of a mask, as much may lie beyond the frame without a word: the edge of a resampling.
_LOST_SHARE = 0.01


def framed(work: Work, mask: _Mask | None, engines: Engines) -> _Mask | None:
    """Puts the patient's aligned square in the photograph's place; returns the mask in it.

    Other faces whose middle lies in the square are described anew; what reaches into it of the
    others is painted over, since half a face can be neither replaced nor checked.
    """
    patient, *others = work.faces
    square = frame_photo(work.image, mask, patient)
    side = square.image.shape[0]
    image = square.image
    work.faces = [framed_face(patient, square)]
    painted = 0
    for other in others:
        found = moved_face(other.found, square)
        middle = (found.box[:2] + found.box[2:]) / 2
        if ((middle >= 0) & (middle < side)).all():
            work.faces.append(align_face(image, found, engines))
        elif (found.box[2:] > 0).all() and (found.box[:2] < side).all():
            image = paint_over(image, found, work.faces[0])
            painted += 1
    if painted:
        work.warnings.append(f"Faces cut off by the frame and painted over: {painted}.")
    if mask is not None and square.mask is not None:
        lost = 1 - _inside_share(mask, square.matrix, side)
        if lost > _LOST_SHARE:
            work.warnings.append(f"Of the region to keep {lost:.0%} lies beyond the frame.")
    work.image = work.original = image
    work.kept = np.zeros((side, side), np.bool_)
    return square.mask


def paint_over(image: Image, found: Face, patient: AlignedFace) -> Image:
    """A copy of the square without a face that is cut off by its side.

    Args:
        image: uint8 [s, s, 3].
        found: The face, in pixels of the square; its middle lies beyond.
        patient: Whose face is left alone.
    """
    import cv2

    side = image.shape[0]
    low, high = found.box[:2], found.box[2:]
    reach = _PAINTED * (high - low)
    left, top = np.clip(np.floor(low - reach), 0, side).astype(int)
    right, bottom = np.clip(np.ceil(high + reach), 0, side).astype(int)
    share = np.zeros((side, side), np.float32)
    share[top:bottom, left:right] = 1
    own = near(require_face(patient.labels), 3).astype(np.uint8)
    own = cv2.resize(own, (side, side), interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    share[own] = 0
    rest = (share == 0) & ~own
    colour = np.median(image[rest] if rest.any() else image.reshape(-1, 3), axis=0)
    # The edge is soft outwards only: nothing of the face may shine through.
    soft = np.maximum(share, cv2.GaussianBlur(share, (0, 0), side / 100))
    soft[own] = 0
    mixed = image + soft[..., np.newaxis] * (colour.astype(np.float32) - image)
    painted: Image = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return painted


def _inside_share(mask: _Mask, matrix: Matrix, side: int) -> float:
    """Share of a mask's pixels that lie in the square."""
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return 1.0
    places = np.stack([columns, rows], 1) @ matrix[:, :2].T + matrix[:, 2]
    return float(((places >= -0.5) & (places < side - 0.5)).all(1).mean())


def settle_kept(work: Work, mask: _Mask | None, settings: Settings) -> None:
    """Finds the region to keep in the patient's face.

    Raises:
        RefusedError: It is not there, or leaves nobody to anonymise.
    """
    patient, margin = work.faces[0], None
    if settings.keep_margin is not None:
        margin = Margin.parse(settings.keep_margin).pixels(patient.eye_distance_px)
    shares, matrix, box = patient.shares, patient.matrix, patient.box
    if mask is not None:
        part = kept_from_file(mask, shares, matrix, box, margin)
        # Beyond the patient's crop, too: bystanders must not touch it.
        work.kept |= widened(mask, margin) if margin else mask
    else:
        part = kept_mask(shares, work.photo.keep, matrix, box, margin)
    box.cut(work.kept)[...] = part
    work.face_share = face_share(part, shares, matrix, box)
