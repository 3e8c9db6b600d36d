"""Fréchet distance of two sets of faces on a named network's features.

The formula is that of Heusel 2017 (arXiv 1706.08500, eq. 6); the features are not Inception's, so
the figure is no FID and must not be compared with one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.align import to_tensor
from vera.engines import Engines

Float = npt.NDArray[np.float64]

FEATURES = "VerA's perceptual features"

# A feature whose spread is below this share of the median one hardly ever fires, and is left out.
_DEAD = 1e-3

# Below this the covariances say nothing.
FEWEST = 8


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean float64 [d] and covariance float64 [d, d] of a set of feature vectors."""

    mean: Float
    covariance: Float

    @classmethod
    def fitted(cls, features: Float) -> "Gaussian":
        """The Gaussian with the moments of ``features`` [n, d], n at least 2."""
        return cls(features.mean(0), np.cov(features, rowvar=False))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Fréchet distance ``|ma - mb|^2 + tr(A + B - 2 (A B)^1/2)``.

    The trace of the root is that of ``(A^1/2 B A^1/2)^1/2``, which is symmetric: no imaginary parts
    arise where there are fewer images than features.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ b.covariance @ root)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    apart = np.square(a.mean - b.mean).sum()
    return max(0.0, float(apart + traces - 2 * np.sqrt(np.maximum(shared, 0)).sum()))


def pooled_features(crop: npt.NDArray[np.uint8], engines: Engines) -> Float:
    """Spatial means of every perceptual feature map, float64 [d].

    Args:
        crop: uint8 [s, s, 3], the aligned face at the generator's size.
        engines: Runs ``perceptual``.
    """
    maps = engines.run("perceptual", crop=to_tensor(crop))
    means = [maps[f"feature_{i}"][0].mean((1, 2)) for i in range(len(maps))]
    return np.asarray(np.concatenate(means), np.float64)


def distance_to_originals(originals: Float, outputs: Float) -> float | None:
    """Fréchet distance of features [n, d] of outputs to those [m, d] of originals.

    Each feature is scaled by its spread over the originals, so that no tap outweighs the others.

    Returns:
        None where either set has fewer than :data:`FEWEST` faces.
    """
    if min(len(originals), len(outputs)) < FEWEST:
        return None
    centre, spread = originals.mean(0), originals.std(0)
    alive = spread > _DEAD * np.median(spread)
    first, second = (((x - centre)[:, alive] / spread[alive]) for x in (originals, outputs))
    return frechet_distance(Gaussian.fitted(first), Gaussian.fitted(second))
