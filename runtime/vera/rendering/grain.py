"""Fine texture: a face enlarged to a photograph's resolution lacks the grain of its skin."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vera.pixels.strips import strips

# Octaves of texture, as the blur that removes each, in photo pixels.
_BLURS = (0.8, 1.6, 3.2)


def add_grain(
    image: npt.NDArray[np.uint8],
    original: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    *,
    seed: int,
    coarsest: float = _BLURS[-1],
) -> npt.NDArray[np.uint8]:
    """Bring the fine texture of ``image`` in ``mask`` up to the strength it has in ``original``.

    Seeded noise, the same in all channels, fills what is missing in each octave. Only three numbers
    of the original enter, the strengths, and medians give them, so that edges and blemishes do not
    count.

    Args:
        image: uint8 [h, w, 3], with the generated face.
        original: uint8 [h, w, 3], the photograph.
        mask: bool [h, w], where the face is generated.
        seed: Draws the noise.
        coarsest: Octaves of coarser blur, in photo pixels, are left as they are: what the generated
            face can show by itself is no grain.

    Returns:
        uint8 [h, w, 3].
    """
    found = zip(_BLURS, _missing(image, original, mask), strict=True)
    missing = [strength if blur <= coarsest else 0.0 for blur, strength in found]
    if not any(missing):
        return image
    noise = np.random.default_rng(seed).standard_normal(mask.shape, dtype=np.float32)
    texture = np.zeros(mask.shape, dtype=np.float32)
    for octave, strength in zip(_octaves(noise), missing, strict=True):
        texture += octave * np.float32(strength / max(float(octave.std()), 1e-6))
    result = np.empty_like(image)
    for rows in strips(image.shape[0]):
        grained = image[rows] + texture[rows][..., np.newaxis]
        result[rows] = np.clip(np.rint(grained), 0.0, 255.0)
    return result


def _missing(
    image: npt.NDArray[np.uint8], original: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]
) -> list[float]:
    """Standard deviation, in grey levels, to be added in each octave."""
    pairs = zip(_octaves(_luma(original)), _octaves(_luma(image)), strict=True)
    return [
        float(np.sqrt(max(0.0, _strength(wanted[mask]) ** 2 - _strength(there[mask]) ** 2)))
        for wanted, there in pairs
    ]


def _octaves(plane: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """The octaves of ``plane``, finest first; ``plane`` itself is used up."""
    import cv2

    removed = 0.0
    for blur in _BLURS:
        coarser = cv2.GaussianBlur(plane, (0, 0), (blur**2 - removed**2) ** 0.5)
        plane -= coarser
        yield plane
        plane, removed = np.asarray(coarser, dtype=np.float32), blur


def _luma(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _strength(values: npt.NDArray[np.float32]) -> float:
    """Standard deviation of the undisturbed part, from the median of the absolute values."""
    return 1.4826 * float(np.median(np.abs(values)))
