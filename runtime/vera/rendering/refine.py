"""The refiner's turn: the face is blended into its crop, then repaired there at twice the side.

Blending comes first, by the same equation as in the photograph, so that the network sees no step of
tone and only has to mend texture and shape. What it returns lies in the photograph's surroundings
already; blending it again at the photograph's size therefore changes next to nothing.
"""

import numpy as np
import numpy.typing as npt

from vera.engines import Engines, Tensor
from vera.pixels.align import Box, to_image, to_tensor
from vera.pixels.morphology import disc
from vera.region.replaced import IN_PLACE, REPLACED, Replacing
from vera.rendering.compose import ComposeConfig, Replacement, compose
from vera.rendering.strands import Strands
from vera.request.keep import class_numbers

Image = npt.NDArray[np.uint8]

_EARS = class_numbers("ear", "earring")

# Rims around the new face and the old ears, for what the part maps miss of them. Crop pixels.
_FACE_RIM = 3
_EAR_RIM = 5

_HERE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def blend_crop(
    face: npt.NDArray[np.float32],
    mask: npt.NDArray[np.float32],
    original: Image,
    kept: npt.NDArray[np.bool_],
    strands: Strands | None = None,
) -> tuple[Image, npt.NDArray[np.float32]]:
    """The generated face in the photograph's crop, blended but without grain.

    Args:
        face: float32 [s, s, 3], 0..255, the fitted face (``fit_face``).
        mask: float32 [s, s], one half and above: take the generated face.
        original: uint8 [s, s, 3], the photograph's crop.
        kept: bool [s, s], True: the photograph stays.
        strands: Hair of the photograph in front of the face; None leaves it to the composition at
            the photograph's size, which must not lay it over the face twice.

    Returns:
        The crop uint8 [s, s, 3], and float32 [s, s]: 1 where it was generated, else 0.

    Raises:
        RefusedError: ``nothing-to-anonymise``: no pixel would change.
    """
    height, width = mask.shape
    place = Replacement(face, mask, _HERE, Box(0, 0, width, height), kept, strands)
    blended = compose(original, place, seed=0, config=ComposeConfig(match_grain=False))
    return blended, ((mask >= 0.5) & ~kept).astype(np.float32)


def refined_area(
    generated: npt.NDArray[np.float32],
    original_labels: npt.NDArray[np.uint8],
    generated_labels: npt.NDArray[np.uint8],
    replacing: Replacing = IN_PLACE,
) -> npt.NDArray[np.float32]:
    """Where the refiner may paint: it makes skin of whatever it is given.

    That mends the jaw, but would fill the place of an old ear, of hair or background with skin.

    Args:
        generated: float32 [s, s], 1 where the crop was generated, of :func:`blend_crop`.
        original_labels: uint8 [s, s].
        generated_labels: uint8 [s, s].
        replacing: What the generated picture takes over.

    Returns:
        float32 [s, s], 0 or 1, nowhere above ``generated``.
    """
    import cv2

    face = np.isin(generated_labels, REPLACED).astype(np.uint8)
    allowed = cv2.dilate(face, disc(_FACE_RIM)) > 0
    if not (replacing.hair or replacing.background):
        ears = np.isin(original_labels, _EARS).astype(np.uint8)
        allowed |= cv2.dilate(ears, disc(_EAR_RIM)) == 0
    return np.where(allowed, generated, np.float32(0))


def refine(blended: Image, generated: npt.NDArray[np.float32], engines: Engines) -> Image:
    """Repairs a blended crop.

    Args:
        blended: uint8 [256, 256, 3], of :func:`blend_crop`.
        generated: float32 [256, 256], 1 where the picture may change (:func:`refined_area`).
        engines: Runs the refiner.

    Returns:
        uint8 [512, 512, 3]; elsewhere it is ``blended``, enlarged.
    """
    mask: Tensor = generated[np.newaxis, np.newaxis]
    return to_image(engines.run("refiner", image=to_tensor(blended), mask=mask)["refined"])
