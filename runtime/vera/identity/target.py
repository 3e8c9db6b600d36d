"""What the inversion aims at: a crop, its part map and its features, and what each pixel counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines, Tensor
from vera.face.faces import AlignedFace
from vera.ops.inversion_target import IGNORE_LABEL, InversionTarget, LossWeights, prepare_target
from vera.pixels.align import Matrix, to_tensor

Labels = npt.NDArray[np.uint8]

# Parts by which a face is recognised or treated count more per pixel than cheek and background.
_PART_WEIGHT = {"eye": 3.0, "brow": 2.0, "mouth": 3.0, "nose": 2.0, "skin": 1.5}
_BACKGROUND_WEIGHT = 0.3

# Class weights of the part maps go with area^-1/2, but no class counts more than this against the
# largest.
_LARGEST_CLASS_WEIGHT = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One photograph as the loss wants it.

    Attributes:
        crop: float32 [1, 3, s, s] in [-1, 1], at the generator's size.
        one_hot: float32 [1, 13, p, p], the part map as the encoder wants it.
        constants: What the loss compares with.
    """

    crop: Tensor
    one_hot: Tensor
    constants: InversionTarget


def make_target(
    face: AlignedFace,
    size: tuple[int, ...],
    engines: Engines,
    feature_weights: Sequence[Tensor],
    weights: LossWeights,
) -> Target:
    """Builds the target of a photograph.

    Args:
        face: The person's face.
        size: Height and width of the photograph: beyond it a crop repeats the edge, which says
            nothing.
        engines: Runs the perceptual network.
        feature_weights: Of the bundle, per tap [c].
        weights: Of the terms.
    """
    layout = engines.layout
    crop = to_tensor(face.picture)
    features = engines.run("perceptual", crop=crop)
    inside = inside_photo(face.matrix, contract.CROP_SIZE, size)[None]
    pixel_weight = part_weight(face.labels) * inside
    fine = _at_size(face.shares, layout.segmentation).argmax(0).astype(np.uint8)[None]
    coarse = _at_size(face.shares, layout.coarse).argmax(0).astype(np.uint8)[None]
    coarse[_at_size(inside, layout.coarse) < 0.5] = IGNORE_LABEL
    constants = prepare_target(
        image=crop,
        features=[features[f"feature_{i}"] for i in range(len(layout.perceptual_taps))],
        feature_weights=feature_weights,
        labels=fine,
        coarse_labels=coarse,
        class_weights=class_weights(fine),
        pixel_weight=_at_size(pixel_weight, layout.image),
        feature_pixel_weight=[_at_size(pixel_weight, side) for _, side in layout.perceptual_taps],
        label_weight=_at_size(inside, layout.segmentation),
        weights=weights,
        classes=contract.CLASS_COUNT,
    )
    planes = np.arange(contract.CLASS_COUNT, dtype=np.uint8)[:, None, None]
    return Target(crop, (fine[:, None] == planes).astype(np.float32), constants)


def inside_photo(matrix: Matrix, size: int, photo: tuple[int, ...]) -> Tensor:
    """float32 [size, size]: 1 where the crop shows the photograph, 0 where it repeats its edge."""
    inverse = np.linalg.inv(matrix[:, :2])
    rows, columns = np.mgrid[0:size, 0:size]
    offsets = np.stack([columns, rows], -1) - matrix[:, 2]
    x, y = np.moveaxis(offsets @ inverse.T, -1, 0)
    height, width = photo[:2]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return np.asarray(inside, np.float32)


def class_weights(labels: Labels) -> Tensor:
    """Weights [13] of the classes, area^-1/2 relative to the largest, capped."""
    counts = np.bincount(labels.ravel(), minlength=contract.CLASS_COUNT)
    weights = np.sqrt(counts.max() / np.maximum(counts, 1))
    return np.asarray(np.minimum(weights, _LARGEST_CLASS_WEIGHT), np.float32)


def part_weight(labels: Labels) -> Tensor:
    """What each pixel of a part map counts, float32 like ``labels``."""
    table = np.ones(contract.CLASS_COUNT, np.float32)
    table[contract.CLASSES.index("background")] = _BACKGROUND_WEIGHT
    for name, weight in _PART_WEIGHT.items():
        table[contract.CLASSES.index(name)] = weight
    return table[labels]


def _at_size(planes: Tensor, size: int) -> Tensor:
    """Planes [k, s, s] at another size: mean over squares, or linear enlargement."""
    import cv2

    if size > planes.shape[-1]:
        larger = [cv2.resize(p, (size, size), interpolation=cv2.INTER_LINEAR) for p in planes]
        return np.ascontiguousarray(larger, np.float32)
    step = planes.shape[-1] // size
    squares = planes.reshape(*planes.shape[:-2], size, step, size, step)
    return np.ascontiguousarray(squares.mean((-3, -1), dtype=np.float32))
