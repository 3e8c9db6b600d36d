"""Disentanglement: what moves in the picture when only one high-level code is exchanged."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from vera import contract
from vera_export.evaluation.readings import Readings

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def _cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Array:
    return np.asarray(1 - (a * b).sum(1), np.float64)


def _length(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Array:
    return np.asarray(np.linalg.norm(a - b, axis=1), np.float64)


# How each attribute's difference is measured: reading and distance; several are averaged.
_MEASURES: Mapping[
    str, tuple[tuple[str, Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], Array]], ...]
] = {
    "identity": (("identity", _cosine),),
    "expression": (("emotion", _length), ("mouth", _length)),
    "pose": (("pose", _length),),
    "age": (("age", _length),),
}


def typical_differences(readings: Readings, seed: int) -> dict[str, list[float]]:
    """Mean difference of random pairs of people, per attribute and measure: the unit of change."""
    count = len(readings.identity)
    order = np.random.default_rng(seed).permutation(count)
    pairs = [(order, np.roll(order, k)) for k in range(1, min(9, count))]
    a, b = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
    return {
        name: [
            max(float(distance(getattr(readings, field)[a], getattr(readings, field)[b]).mean()),
                1e-9)
            for field, distance in measures
        ]
        for name, measures in _MEASURES.items()
    }  # fmt: skip


def changes(
    before: Readings, after: Readings, typical: Mapping[str, list[float]]
) -> dict[str, float]:
    """Mean change of every attribute, in units of the typical difference of two people.

    Args:
        before: Readings of n images.
        after: Readings of the same n images with something exchanged.
        typical: From :func:`typical_differences`.
    """
    return {
        name: float(
            np.mean(
                [
                    distance(getattr(before, field), getattr(after, field)).mean() / unit
                    for (field, distance), unit in zip(measures, typical[name], strict=True)
                ]
            )
        )
        for name, measures in _MEASURES.items()
    }


def disentanglement_scores(matrix: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """GAN-Control's DS per code: the product over the other attributes of ``own / other``.

    Args:
        matrix: Row per exchanged code, column per attribute moved, both of
            ``contract.HIGH_LEVEL``; GAN-Control (arXiv 2101.02477) takes standard deviations, here
            they are mean changes.
    """
    return {
        code: float(
            np.prod(
                [
                    matrix[code][code] / max(matrix[code][other], 1e-9)
                    for other in contract.HIGH_LEVEL
                    if other != code
                ]
            )
        )
        for code in contract.HIGH_LEVEL
    }
