"""Arrays for tests of the inversion loss: outputs of a small generator, and targets."""

from typing import Any

import numpy as np

from vera.ops import LossWeights

# Odd sizes, both widths of a tile, and more channels than its copy holds.
LAYERS = ((5, 31, 17), (64, 16, 16), (131, 9, 7), (1030, 2, 3))
WEIGHTS = LossWeights(pixel=0.3, perceptual=1.2, segmentation=0.5, coarse=0.2, temperature=0.2)


def make_normal(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def make_uniform(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).random(shape).astype(dtype)


def make_labels(seed: int, *shape: int) -> Any:
    labels = np.random.default_rng(seed).integers(0, 13, shape).astype(np.uint8)
    labels[..., 0] = 255
    return labels


def make_case(
    n: int = 2, dtype: Any = np.float32, weights: LossWeights = WEIGHTS
) -> dict[str, Any]:
    """Everything that `prepare_target` takes, and the outputs to compare with it."""
    return {
        "image": make_normal(1, n, 3, 37, 41, dtype=dtype),
        "features": [make_normal(2 + i, n, *s, dtype=dtype) for i, s in enumerate(LAYERS)],
        "feature_weights": [make_uniform(10 + i, s[0], dtype=dtype) for i, s in enumerate(LAYERS)],
        "labels": make_labels(20, n, 19, 23),
        "coarse_labels": make_labels(21, n, 32, 32),
        "class_weights": make_uniform(22, 13, dtype=dtype),
        "pixel_weight": make_uniform(23, n, 37, 41, dtype=dtype),
        "feature_pixel_weight": [
            make_uniform(30 + i, n, *s[1:], dtype=dtype) for i, s in enumerate(LAYERS)
        ],
        "label_weight": make_uniform(24, n, 19, 23, dtype=dtype),
        "weights": weights,
    }


def make_outputs(n: int = 2, dtype: Any = np.float32) -> dict[str, Any]:
    return {
        "image": make_normal(41, n, 3, 37, 41, dtype=dtype),
        "segmentation": make_normal(42, n, 13, 19, 23, dtype=dtype),
        "depth": make_normal(43, n, 13, 32, 32, dtype=dtype) * 3,
        **{
            f"feature_{i}": np.maximum(make_normal(44 + i, n, *s, dtype=dtype), 0)
            for i, s in enumerate(LAYERS)
        },
    }
