"""What is replaced: everything that shows who it is, in the crop, and more if asked for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.errors import RefusedError
from vera.pixels.morphology import disc, filled, near, parts
from vera.request.keep import class_numbers
from vera.settings import Settings

# What is replaced. Glasses and earrings are: worn on the replaced parts, and often recognised.
REPLACED = class_numbers("skin", "eye", "brow", "mouth", "nose", "ear", "glasses", "earring")

_HAIR = class_numbers("hair")
_HAT = class_numbers("hat")
_EAR = class_numbers("ear")
_NECK = class_numbers("neck")
# The rest of a picture without a photograph around it.
_SCENERY = class_numbers("background", "neck", "cloth")

# The replaced area grows by this much over everything but hair, so that no rim of the face is left.
# Crop pixels.
_DILATION = 2

# Ears and replaced hair grow by more: the part map shows neither an ear's thin rim nor the
# outermost strands.
_OUTLYING_DILATION = 5

# Half the width below which labels of hair or hat beside the face are none. Crop pixels.
_THINNEST = 2

# A face that covers less of its crop than this was not understood; an upright one covers a third.
_SMALLEST_FACE = 0.05

# Parts of the face further than this from its largest part are another person's. Crop pixels.
_REACH = 24

# Hair before a new background turns into generated hair over this width. Crop pixels.
HAIR_RIM = 7


@dataclass(frozen=True, slots=True)
class Replacing:
    """What the generated picture takes over of a face and its surroundings.

    Attributes:
        hair: Hair too, and what the old hair covered. A hat stays.
        background: Everything, except hair and hat if they are kept; only if ``whole``.
        tone: Whether the new skin takes the photograph's tone. If not, the neck is replaced too.
        whole: Whether the crop is all there is, so that nothing has to fit beyond it.
    """

    hair: bool = False
    background: bool = False
    tone: bool = True
    whole: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Replacing":
        """What these settings ask for."""
        return cls(
            hair=settings.hair == "regenerate",
            background=settings.background == "regenerate",
            tone="skin-tone" in settings.preserve,
            whole=settings.frame == "crop",
        )

    @property
    def front(self) -> tuple[int, ...]:
        """Classes in front of the face that stay even where the new face would lie."""
        return _HAT if self.hair else (*_HAIR, *_HAT)

    @property
    def classes(self) -> tuple[int, ...]:
        """Classes of the photograph that are replaced wherever they are."""
        neck = () if self.tone else _NECK
        return (*REPLACED, *neck, *(_HAIR if self.hair else ()))

    @property
    def parts(self) -> tuple[int, ...]:
        """Classes beside the face's whose codes a new person brings along."""
        hair = _HAIR if self.hair else ()
        if self.background:
            return (*hair, *_SCENERY)
        return hair if self.tone else (*hair, *_NECK)


IN_PLACE = Replacing()


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
    replacing: Replacing = IN_PLACE,
) -> npt.NDArray[np.float32]:  # [s, s]
    """Where the generated picture replaces the photograph, in the crop; kept is not yet taken out.

    Replaced is what was identifying and what is now: where the two outlines disagree the generated
    pixels win, and no rim of the original face survives. Hair, unless replaced, and hat of the
    photograph lie in front and stay.

    Returns:
        float32 in [0, 1] with a soft edge; cut it at one half after resampling.

    Raises:
        RefusedError: ``face-unclear``, see :func:`require_face`.
    """
    import cv2

    face = require_face(original_labels)
    if replacing.background:
        replaced = ~kept_hair(original_labels, replacing)
        return cv2.GaussianBlur(replaced.astype(np.float32), (0, 0), 1.0)  # type: ignore[return-value]
    front = _front(original_labels, face, replacing)
    replaced = filled(
        own_parts(original_labels, replacing) | _arriving(generated_labels, face, front, replacing)
    )
    replaced |= near(replaced, _DILATION) & ~front
    outlying = replaced & np.isin(original_labels, (*_EAR, *(_HAIR if replacing.hair else ())))
    replaced |= near(outlying, _OUTLYING_DILATION) & ~front
    if not replacing.whole:
        _clear_border(replaced)
    return cv2.GaussianBlur(replaced.astype(np.float32), (0, 0), 1.0)  # type: ignore[return-value]


def own_parts(
    labels: npt.NDArray[np.uint8],  # [s, s]
    replacing: Replacing = IN_PLACE,
) -> npt.NDArray[np.bool_]:  # [s, s]
    """All that is replaced of this person: the face and, if asked for, hair or neck.

    Raises:
        RefusedError: ``face-unclear``, see :func:`require_face`.
    """
    face = require_face(labels)
    more = np.isin(labels, replacing.classes) & ~np.isin(labels, REPLACED)
    return face | _main_parts(face | more) if more.any() else face


def kept_hair(
    labels: npt.NDArray[np.uint8],  # [s, s]
    replacing: Replacing = IN_PLACE,
) -> npt.NDArray[np.bool_]:  # [s, s]
    """Hair and hat that stay before a new background, without the rim in which the old one shows.

    Raises:
        RefusedError: ``face-unclear``, see :func:`require_face`.
    """
    import cv2

    face = require_face(labels)
    front = _front(labels, face, replacing)
    # The crop's sides are no rim, nor is the hairline, where strands are looked for.
    dense = cv2.erode((front | near(face, 1)).astype(np.uint8), disc(HAIR_RIM)) > 0
    return front & dense


def _front(
    labels: npt.NDArray[np.uint8], face: npt.NDArray[np.bool_], replacing: Replacing
) -> npt.NDArray[np.bool_]:
    """Hair and hat in front of the face, without parts too thin to be: an ear's shadow, errors."""
    import cv2

    front = np.isin(labels, replacing.front)
    core = cv2.morphologyEx(front.astype(np.uint8), cv2.MORPH_OPEN, disc(_THINNEST)) > 0
    return front & near(core, _THINNEST) & ~face


def _arriving(
    labels: npt.NDArray[np.uint8],
    face: npt.NDArray[np.bool_],
    front: npt.NDArray[np.bool_],
    replacing: Replacing,
) -> npt.NDArray[np.bool_]:
    """What the new person covers of the photograph."""
    new = np.isin(labels, REPLACED) & near(face, _REACH)
    if replacing.hair:
        new |= np.isin(labels, _HAIR)
    return _main_parts(new & ~front)


def _main_parts(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest part and what lies near it, such as ears; not a neighbour's face."""
    numbers, sizes = parts(mask)
    if not sizes.any():
        return mask
    reached = np.unique(numbers[near(numbers == int(sizes.argmax()), _REACH)])
    return np.isin(numbers, reached[reached > 0])


def _clear_border(mask: npt.NDArray[np.bool_]) -> None:
    """The crop's own rim is never replaced: there the blend needs photograph on the other side."""
    mask[:2] = mask[-2:] = False
    mask[:, :2] = mask[:, -2:] = False
