"""Coloured noise in a generated face: what the generator makes of parts that do not go together."""

import numpy as np
import numpy.typing as npt

from vera.request.keep import class_numbers

_SKIN = class_numbers("skin", "nose", "ear")
_FEATURES = class_numbers("eye", "brow", "mouth", "glasses", "earring")

# Features are colourful by themselves, this far around them. Crop pixels.
_AROUND = 4

# Colour finer than the first figure, averaged over squares of the second, at least half of it skin.
_FINE, _SQUARE = 1.5, 11

# CIE Lab units. On 200 people drawn for heads of the bank and 126 for photographs the figure was 6
# in the median and 8.2 and 8.8 in one of twenty; by eye nearly all above were spoilt, often around
# an ear whose shape code comes from a person whose hair hid it, and hardly any below.
_MOST = 8.5


def speckled(picture: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> bool:
    """Whether the skin of a generated face shows coloured noise.

    Args:
        picture: uint8 [s, s, 3], the generated crop as it comes.
        labels: uint8 [s, s], its part map.
    """
    import cv2

    lab = cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    colour = lab[..., 1:]
    fine = np.abs(colour - cv2.GaussianBlur(colour, (0, 0), _FINE)).sum(axis=2)
    features = np.isin(labels, _FEATURES).astype(np.uint8)
    side = 2 * _AROUND + 1
    near = cv2.dilate(features, np.ones((side, side), np.uint8)) > 0
    skin = (np.isin(labels, _SKIN) & ~near).astype(np.float32)
    square = (_SQUARE, _SQUARE)
    count = cv2.boxFilter(skin, -1, square, normalize=False)
    sums = cv2.boxFilter(fine * skin, -1, square, normalize=False)
    enough = count >= _SQUARE**2 / 2
    return bool((sums[enough] > _MOST * count[enough]).any())
