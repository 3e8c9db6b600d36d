"""What is made of a photograph before a face is replaced: its frame, and what of it is kept."""

import numpy as np
import numpy.typing as npt

from vera.engines import Engines
from vera.faces import align_face
from vera.frame import frame_photo, framed_face, moved_face
from vera.keep_margin import Margin
from vera.morphology import widened
from vera.outline import face_share
from vera.regions import kept_from_file, kept_mask
from vera.settings import Settings
from vera.work import Work

_Mask = npt.NDArray[np.bool_]


def framed(work: Work, mask: _Mask | None, engines: Engines) -> _Mask | None:
    """Puts the patient's aligned square in the photograph's place; returns the mask in it.

    Other faces whose middle lies in the square are described anew; the others are cut off.
    """
    patient, *others = work.faces
    square = frame_photo(work.image, mask, patient)
    side = square.image.shape[0]
    work.faces = [framed_face(patient, square)]
    for other in others:
        found = moved_face(other.found, square)
        middle = (found.box[:2] + found.box[2:]) / 2
        if ((middle >= 0) & (middle < side)).all():
            work.faces.append(align_face(square.image, found, engines))
    work.image = work.original = square.image
    work.kept = np.zeros((side, side), np.bool_)
    return square.mask


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
