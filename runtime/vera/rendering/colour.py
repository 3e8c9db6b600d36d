"""The generated face under the photograph's light: skin tone, contrast and shading."""

import numpy as np
import numpy.typing as npt

from vera.contract import CLASSES

_SKIN = (CLASSES.index("skin"), CLASSES.index("nose"))

# Fewer skin pixels than this say nothing about the light.
_FEWEST_PIXELS = 400

# Largest change of contrast, and of tone in Lab units: beyond it, something else than light
# differs.
_CONTRAST = (0.75, 1.5)
_LARGEST_SHIFT = 25.0

# What is darker or lighter than the skin by more than this, in Lab units, is no relief of the skin:
# its contrast would turn dark hair black.
_RELIEF = 20.0

# A new person's skin may differ from the old one's by this much in lightness and in each chroma
# channel, in Lab units; what it differs by beyond is taken for the photograph's light.
_OWN_TONE = (15.0, 8.0, 8.0)


def match_colour(
    generated: npt.NDArray[np.uint8],
    original: npt.NDArray[np.uint8],
    generated_labels: npt.NDArray[np.uint8],
    original_labels: npt.NDArray[np.uint8],
    *,
    tone: bool = True,
) -> npt.NDArray[np.float32]:
    """Give the generated crop the skin tone, contrast and direction of light of the original crop.

    In Lab, each channel's plane (level, slope across, slope down) over the skin is exchanged for
    that of the photograph; in lightness also the spread around it (Reinhard et al. 2001, with a
    plane for the mean).

    Args:
        generated: uint8 [s, s, 3].
        original: uint8 [s, s, 3], the photograph's crop.
        generated_labels: uint8 [s, s].
        original_labels: uint8 [s, s].
        tone: Whether the skin's tone is matched. If not, the level of each plane stays the
            generated one's as far as people may differ by it.

    Returns:
        float32 [s, s, 3], 0..255; the generated crop itself where one of the two shows too little
        skin.
    """
    import cv2

    ours, theirs = _skin(generated_labels), _skin(original_labels)
    if min(int(ours.sum()), int(theirs.sum())) < _FEWEST_PIXELS:
        return generated.astype(np.float32)
    lab, target = _lab(generated), _lab(original)
    before = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    lightness = lab[..., 0].copy()
    # Light multiplies: what is far darker than the skin (hair, pupils) shifts less.
    lit = np.clip(1.5 * lightness / np.maximum(_plane(lightness, ours), 1.0), 0.0, 1.0)
    for channel in range(3):
        level, wanted = lab[..., channel], target[..., channel]
        plane, aim = _plane(level, ours), _plane(wanted, theirs)
        shift = aim - plane
        if not tone:
            own = float(shift[theirs].mean())
            shift -= np.clip(own, -_OWN_TONE[channel], _OWN_TONE[channel])
        level += lit * np.clip(shift, -_LARGEST_SHIFT, _LARGEST_SHIFT)
        if channel == 0:
            spread = _spread(wanted - aim, theirs) / max(_spread(lightness - plane, ours), 1e-3)
            relief = np.clip(lightness - plane, -_RELIEF, _RELIEF)
            level += relief * (np.clip(spread, *_CONTRAST) - 1)
    # Only the change is taken from Lab, whose tables are not exact to a grey level.
    change = (cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) - before) * 255.0
    return np.asarray(np.clip(generated + change, 0.0, 255.0), dtype=np.float32)


def _skin(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Skin away from its borders, where hair and shadow mix in."""
    import cv2

    skin = np.isin(labels, _SKIN).astype(np.uint8)
    return cv2.erode(skin, np.ones((7, 7), dtype=np.uint8), borderValue=0).astype(np.bool_)


def _lab(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    import cv2

    scaled = image.astype(np.float32) / np.float32(255.0)
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB).astype(np.float32)


def _plane(level: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The least-squares plane through ``level`` over ``mask``, everywhere."""
    height, width = level.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    terms = np.stack([np.ones_like(x), x / width - 0.5, y / height - 0.5], axis=-1)
    weights, *_ = np.linalg.lstsq(terms[mask].astype(np.float64), level[mask], rcond=None)
    return np.asarray(terms @ weights, dtype=np.float32)


def _spread(level: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> float:
    return float(np.median(np.abs(level[mask])))
