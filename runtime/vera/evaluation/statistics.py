"""Means with intervals that know that photographs of one person are not independent."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.errors import UsageError

LEVEL = 0.95
RESAMPLES = 2000
_SEED = 20241121

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over photographs or pairs.

    Attributes:
        mean: Of all values.
        low: Lower end of the 95 % interval; None with fewer than two people.
        high: Upper end.
        count: Values.
        people: People they come from.
    """

    mean: float
    low: float | None
    high: float | None
    count: int
    people: int

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit, such as per cent; ``factor`` is above 0."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Estimate(self.mean * factor, low, high, self.count, self.people)


def require_extra() -> None:
    """Raises a UsageError if the extra ``evaluate`` is not installed."""
    try:
        import matplotlib
        import scipy  # noqa: F401

        matplotlib.use("Agg")
    except ImportError as error:
        raise UsageError(
            f"vera evaluate needs {error.name}, which is not installed; run: "
            'pip install "vera[evaluate]"'
        ) from error


def estimate(values: Iterable[tuple[int, float]], *, share: bool = False) -> Estimate | None:
    """Mean and percentile bootstrap interval, resampled by person.

    Args:
        values: (person, value) each; values that are not finite are left out.
        share: Whether the mean is a share, each value being 0 or 1. Where all are equal, resampling
            can say nothing; the interval is then the exact one (Clopper and Pearson 1934) over the
            people.

    Returns:
        None if no value is left.
    """
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for person, value in values:
        if np.isfinite(value):
            sums[person] = sums.get(person, 0.0) + float(value)
            counts[person] = counts.get(person, 0) + 1
    if not counts:
        return None
    total, people = sum(counts.values()), len(counts)
    mean = sum(sums.values()) / total
    if people < 2:
        return Estimate(mean, None, None, total, people)
    if share and mean in (0.0, 1.0):
        return Estimate(mean, *_exact(mean, people), total, people)
    ends = _percentiles(np.array(list(sums.values())), np.array(list(counts.values())))
    return Estimate(mean, *ends, total, people)


def _percentiles(sums: Float, counts: npt.NDArray[np.int_]) -> tuple[float, float]:
    from scipy.stats import bootstrap

    found = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,  # a person's photographs come and go together
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _ratio(sums: Float, counts: Float, axis: int) -> Float:
    return np.asarray(sums.sum(axis) / counts.sum(axis), np.float64)


def _exact(share: float, people: int) -> tuple[float, float]:
    """The interval of a share of 0 or 1, for which the beta quantile is a root."""
    reach = ((1 - LEVEL) / 2) ** (1 / people)
    return (reach, 1.0) if share == 1 else (0.0, 1 - reach)
