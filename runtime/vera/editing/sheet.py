"""Steps side by side with what was done, and part maps in colour."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vera.editing.state import Image, Step

# One colour per class of the contract, in its order.
_COLOURS = np.array(
    [
        (32, 32, 32),
        (239, 190, 150),
        (60, 120, 216),
        (120, 72, 24),
        (208, 48, 80),
        (248, 144, 72),
        (200, 96, 176),
        (96, 64, 48),
        (216, 208, 112),
        (72, 152, 104),
        (128, 216, 232),
        (136, 88, 216),
        (248, 248, 96),
    ],
    np.uint8,
)
_BAND = 22  # px above each picture
_TEXT = 13  # px
_MARGIN = 4


def strip(steps: Sequence[Step]) -> Image:
    """The pictures of all steps in a row, each under its label: uint8 [s + band, n * s, 3]."""
    return np.concatenate([_labelled(step.look.image, step.label) for step in steps], axis=1)


def part_map(labels: npt.NDArray[np.uint8]) -> Image:
    """A part map [h, w] with a colour per class, uint8 [h, w, 3]."""
    coloured: Image = _COLOURS[labels]
    return coloured


def _labelled(image: Image, label: str) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    tile = Pillow.new("RGB", (image.shape[1], image.shape[0] + _BAND), (255, 255, 255))
    tile.paste(Pillow.fromarray(image), (0, _BAND))
    draw = ImageDraw.Draw(tile)
    draw.text((_MARGIN, _MARGIN), label, fill=(0, 0, 0), font=ImageFont.load_default(_TEXT))
    return np.array(tile, np.uint8)
