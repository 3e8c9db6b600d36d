"""The refiner's turn: the face is blended into its crop, then repaired there at twice the side.

Blending comes first, by the same equation as in the photograph, so that the network sees no step of
tone and only has to mend texture and shape. What it returns lies in the photograph's surroundings
already; blending it again at the photograph's size therefore changes next to nothing.
"""

import numpy as np
import numpy.typing as npt

from vera.align import Box, to_image, to_tensor
from vera.compose import ComposeConfig, Replacement, compose
from vera.engines import Engines, Tensor
from vera.strands import Strands

Image = npt.NDArray[np.uint8]

_IN_PLACE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


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
    place = Replacement(face, mask, _IN_PLACE, Box(0, 0, width, height), kept, strands)
    blended = compose(original, place, seed=0, config=ComposeConfig(match_grain=False))
    return blended, ((mask >= 0.5) & ~kept).astype(np.float32)


def refine(blended: Image, generated: npt.NDArray[np.float32], engines: Engines) -> Image:
    """Repairs a blended crop.

    Args:
        blended: uint8 [256, 256, 3], of :func:`blend_crop`.
        generated: float32 [256, 256], 1 where the picture may change.
        engines: Runs the refiner.

    Returns:
        uint8 [512, 512, 3]; elsewhere it is ``blended``, enlarged.
    """
    mask: Tensor = generated[np.newaxis, np.newaxis]
    return to_image(engines.run("refiner", image=to_tensor(blended), mask=mask)["refined"])
