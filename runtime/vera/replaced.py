"""What is replaced: everything that shows who it is, in the crop."""

import numpy as np
import numpy.typing as npt

from vera.errors import RefusedError
from vera.keep import class_numbers
from vera.morphology import disc, filled, parts

# What is replaced. Glasses and earrings are: worn on the replaced parts, and often recognised.
REPLACED = class_numbers("skin", "eye", "brow", "mouth", "nose", "ear", "glasses", "earring")

# In front of the face: stays even where the new face would lie.
_IN_FRONT = class_numbers("hair", "hat")

# The replaced area grows by this much over everything but hair, so that no rim of the face is left.
# Crop pixels.
_DILATION = 2

# A face that covers less of its crop than this was not understood; an upright one covers a third.
_SMALLEST_FACE = 0.05

# Parts of the face further than this from its largest part are another person's. Crop pixels.
_REACH = 24


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
    grown = cv2.dilate(replaced.astype(np.uint8), disc(_DILATION)).astype(np.bool_)
    replaced |= grown & ~front
    _clear_border(replaced)
    return cv2.GaussianBlur(replaced.astype(np.float32), (0, 0), 1.0)  # type: ignore[return-value]


def _near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), disc(_REACH)).astype(np.bool_)


def _main_parts(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest part and what lies near it, such as ears; not a neighbour's face."""
    numbers, sizes = parts(mask)
    if not sizes.any():
        return mask
    reached = np.unique(numbers[_near(numbers == int(sizes.argmax()))])
    return np.isin(numbers, reached[reached > 0])


def _clear_border(mask: npt.NDArray[np.bool_]) -> None:
    """The crop's own rim is never replaced: there the blend needs photograph on the other side."""
    mask[:2] = mask[-2:] = False
    mask[:, :2] = mask[:, -2:] = False
