"""Cohen's kappa with intervals.

Written here because it is a dozen lines, and the libraries that have it (scikit-learn, statsmodels)
weigh over a hundred megabytes and resample no cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Weights = Literal["none", "linear", "quadratic"]
Array = npt.NDArray[np.float64]

RESAMPLES = 2000
_SEED = 0
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A kappa with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two sets of answers agree.

    Attributes:
        first: Whose answers are the rows of the table.
        second: Whose are its columns.
        shown: What was rated.
        n: Photographs answered in both.
        cases: How many cases they belong to; intervals come from resampling these.
        agreed: Share of equal answers, in [0, 1].
        kappa: By the weighting of disagreements.
        table: Counts, [k, k] in the order of the scale.
    """

    first: str
    second: str
    shown: str
    n: int
    cases: int
    agreed: float
    kappa: dict[Weights, Estimate]
    table: tuple[tuple[int, ...], ...]


def kappa(tables: npt.ArrayLike, weights: Weights = "none") -> Array:
    """Cohen's kappa of counts [..., k, k]: 1 - observed over expected weighted disagreement.

    J. Cohen, Educ. Psychol. Meas. 20 (1960) 37; weighted: Psychol. Bull. 70 (1968) 213, with
    disagreements weighing abs(i - j) or (i - j)^2.

    Returns:
        float64 [...]; NaN where no disagreement is possible, as when one answer alone was used.
    """
    counts = np.asarray(tables, np.float64)
    k = counts.shape[-1]
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    cost = {"none": distance > 0, "linear": distance, "quadratic": distance**2}[weights]
    total = counts.sum((-2, -1))
    observed = (counts * cost).sum((-2, -1))
    margins = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :]
    expected = (margins * cost).sum((-2, -1))
    defined = expected > 0
    return np.where(defined, 1 - observed * total / np.where(defined, expected, 1), np.nan)


def compare(
    pairs: Sequence[tuple[str, int, int]],
    k: int,
    *,
    first: str,
    second: str,
    shown: str,
    ordered: bool,
) -> Agreement:
    """Compare two sets of answers.

    Args:
        pairs: Case and the two answers of each photograph, at least one.
        k: Number of possible answers.
        first: Whose the first answers are.
        second: Whose the second.
        shown: What was rated.
        ordered: Whether kappa is also weighted.
    """
    cases = {case: place for place, case in enumerate(dict.fromkeys(p[0] for p in pairs))}
    tables = np.zeros((len(cases), k, k))
    for case, a, b in pairs:
        tables[cases[case], a, b] += 1
    table = tables.sum(0)
    weightings: tuple[Weights, ...] = ("none", "linear", "quadratic") if ordered else ("none",)
    return Agreement(
        first=first,
        second=second,
        shown=shown,
        n=len(pairs),
        cases=len(cases),
        agreed=float(np.trace(table) / table.sum()),
        kappa={weights: _estimate(tables, weights) for weights in weightings},
        table=tuple(tuple(int(x) for x in row) for row in table),
    )


def _estimate(tables: Array, weights: Weights) -> Estimate:
    """Percentile bootstrap over cases: photographs of one person are not independent."""
    value = float(kappa(tables.sum(0), weights))
    if np.isnan(value):
        return Estimate(None, None, None)
    n, k = tables.shape[:2]
    chosen = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    resampled = kappa((chosen @ tables.reshape(n, k * k)).reshape(-1, k, k), weights)
    defined = resampled[~np.isnan(resampled)]
    if n < 2:
        return Estimate(value, None, None)
    low, high = np.percentile(defined, _INTERVAL)
    return Estimate(value, float(low), float(high))
