"""Fréchet distance of two sets of faces on a named network's features.

The formula is that of Heusel 2017 (arXiv 1706.08500, eq. 6); the features are not Inception's, so
the figure is no FID and must not be compared with one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.engines import Engines
from vera.pixels.align import to_tensor

Float = npt.NDArray[np.float64]
Described = tuple[int, Float]  # person, features [d]

FEATURES = "VerA's perceptual features"

# A feature whose spread is below this share of the median one hardly ever fires, and is left out.
_DEAD = 1e-3

# Splits of the people into two halves; the mean over them hardly depends on their seed.
_SPLITS = 10
_SEED = 20241121

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


def standardised(reference: Float, *sets: Float) -> list[Float]:
    """Sets of features [n, d], each feature scaled by its spread over ``reference`` [m, d].

    So no tap outweighs the others. Features that hardly ever fire there are left out.
    """
    centre, spread = reference.mean(0), reference.std(0)
    alive = spread > _DEAD * np.median(spread)
    return [(features - centre)[:, alive] / spread[alive] for features in sets]


@dataclass(frozen=True, slots=True)
class Realism:
    """How far outputs are from photographs, beside how far photographs are from each other.

    Attributes:
        distance: Outputs of some people to originals of others.
        originals: Originals of the same people in place of the outputs, as many of them.
        faces: On each side, on average over the splits.
    """

    distance: float
    originals: float
    faces: float


def realism(originals: Sequence[Described], outputs: Sequence[Described]) -> Realism | None:
    """Mean Fréchet distance over random halves of the people.

    The distance of few faces is too large by an amount that depends on their number, and an output
    is close to its own original for other reasons than being realistic. So outputs of one half of
    the people are compared with originals of the other half, and as many originals of the first
    half with the same, which is what perfect outputs would get.

    Args:
        originals: Person and features [d] of each photograph.
        outputs: Person and features [d] of each output.

    Returns:
        None where halves have fewer than :data:`FEWEST` faces.
    """
    if not originals or not outputs:
        return None
    before, after = _Faces.of(originals), _Faces.of(outputs)
    before.features, after.features = standardised(before.features, before.features, after.features)
    people = np.unique(before.owners)
    found: list[tuple[float, float, int]] = []
    for split in range(_SPLITS):
        random = np.random.default_rng((_SEED, split))
        first, second = np.array_split(random.permutation(people), 2)
        sets = [before.of_people(second), after.of_people(first), before.of_people(first)]
        faces = min(len(one) for one in sets)
        if faces < FEWEST:
            continue
        others, made, real = (Gaussian.fitted(random.permutation(one)[:faces]) for one in sets)
        distances = frechet_distance(others, made), frechet_distance(others, real)
        found.append((*distances, faces))
    return Realism(*np.mean(found, axis=0).tolist()) if found else None


@dataclass(slots=True, eq=False)
class _Faces:
    """Owners int [n] and features float64 [n, d] of faces."""

    owners: npt.NDArray[np.int_]
    features: Float

    @classmethod
    def of(cls, described: Sequence[Described]) -> "_Faces":
        owners, features = zip(*described, strict=True)
        return cls(np.asarray(owners), np.asarray(features, np.float64))

    def of_people(self, people: npt.NDArray[np.int_]) -> Float:
        return self.features[np.isin(self.owners, people)]
