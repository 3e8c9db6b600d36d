"""Quantiles of latencies with bootstrap intervals, and when a quantile may be told at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.errors import UsageError

LEVEL = 0.95
RESAMPLES = 1000
_SEED = 20241121
_BATCH = 100  # resamples held in memory at once

# A quantile is told from so many samples on: ten lie beyond p90, p95 and p99. MLPerf asks for far
# more (270,336 for p99 with a margin of 0.05 %), which cases of seconds never reach; the interval
# says what the smaller number costs.
SAMPLES_NEEDED = {50: 1, 90: 100, 95: 200, 99: 1000}

# Resampling fewer samples than these gives intervals that are far too narrow.
INTERVAL_NEEDED = 20

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % bootstrap interval.

    Attributes:
        value: Of all samples.
        low: Lower end; None with fewer than :data:`INTERVAL_NEEDED` samples, and where nothing is
            known of the figure's spread.
        high: Upper end.
        least: Smallest sample, where there are two or more, but too few for an interval.
        most: Largest sample, likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None

    def scaled(self, factor: float) -> "Interval":
        """The same in another unit; ``factor`` is above 0."""
        ends = (self.low, self.high, self.least, self.most)
        return Interval(
            self.value * factor, *(None if end is None else end * factor for end in ends)
        )


def require_extra() -> None:
    """Raises a UsageError if the extra ``bench`` is not installed."""
    try:
        import jsonschema  # noqa: F401
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f'vera bench needs {error.name}, which is not installed; run: pip install "vera[bench]"'
        ) from error


def quantile(values: Sequence[float] | Float, per_cent: int, axis: int = -1) -> Float:
    """The smallest sample that ``per_cent`` % of the samples do not exceed."""
    found = np.percentile(values, per_cent, axis=axis, method="inverted_cdf")
    return np.asarray(found, np.float64)


def quantiles(values: Sequence[float]) -> dict[str, Interval | None]:
    """p50, p90, p95 and p99, each None where :data:`SAMPLES_NEEDED` asks for more samples.

    Raises:
        ValueError: There is no sample.
    """
    if not values:
        raise ValueError("There are no samples.")
    return {
        f"p{per_cent}": interval([values], lambda a, axis=-1, q=per_cent: quantile(a, q, axis))
        if len(values) >= needed
        else None
        for per_cent, needed in SAMPLES_NEEDED.items()
    }


def mean(values: Sequence[float]) -> Interval:
    """The mean with its interval."""
    return interval([values], lambda a, axis=-1: np.asarray(np.mean(a, axis=axis), np.float64))


def interval(samples: Sequence[Sequence[float]], statistic: Callable[..., Float]) -> Interval:
    """A statistic of one or two independent sets of samples, with its percentile interval.

    Where there are too few samples for one, a statistic of one set gets the range of its samples.

    Args:
        samples: float [n] each, resampled one independently of the other.
        statistic: Called as ``statistic(*samples, axis=-1)``.
    """
    from scipy.stats import bootstrap

    data = [np.asarray(one, np.float64) for one in samples]
    value = float(statistic(*data, axis=-1))
    fewest = min(len(one) for one in data)
    if fewest < INTERVAL_NEEDED:
        if len(data) > 1 or fewest < 2:
            return Interval(value)
        return Interval(value, least=float(data[0].min()), most=float(data[0].max()))
    found = bootstrap(
        data,
        statistic,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def share_limit(count: int, of: int) -> float:
    """Upper 95 % limit of a share that was ``count`` out of ``of`` (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if count >= of else float(beta.ppf(LEVEL, count + 1, of - count))
