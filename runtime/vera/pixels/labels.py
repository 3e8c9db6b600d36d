"""Part maps: class probabilities of the parser and the generator, and the labels they give."""

import numpy as np
import numpy.typing as npt

from vera.contract import CROP_SIZE


def probabilities(
    logits: npt.NDArray[np.float32], size: int = CROP_SIZE
) -> npt.NDArray[np.float32]:
    """Class probabilities of a part map: softmax, then linear resampling to ``size``.

    Args:
        logits: float32 [13, s, s] or [1, 13, s, s].
        size: Side of the result.

    Returns:
        float32 [13, size, size]; each pixel sums to 1.
    """
    import cv2

    planes = logits[0] if logits.ndim == 4 else logits
    powers = np.exp(planes - planes.max(axis=0, keepdims=True))
    shares = powers / powers.sum(axis=0, keepdims=True)
    if shares.shape[1:] == (size, size):
        return np.asarray(shares, dtype=np.float32)
    resized = [cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR) for plane in shares]
    return np.asarray(resized, dtype=np.float32)


def to_labels(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The likeliest class of each pixel: [13, s, s] to uint8 [s, s]."""
    return np.asarray(shares.argmax(axis=0), dtype=np.uint8)
