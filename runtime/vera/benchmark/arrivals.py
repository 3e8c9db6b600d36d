"""When queries arrive, and which rate a server holds."""

from collections.abc import Callable

import numpy as np

_FASTER = 1.5  # by which a rate that was held is raised until one is not
_STREAM = 0x76657261  # keeps these draws apart from others of the same seed


def poisson(rate: float, count: int, seed: int) -> list[float]:
    """Seconds from the start at which ``count`` independent arrivals come, ``rate`` a second.

    The gaps are exponential; the same seed gives the same gaps at every rate, scaled.
    """
    gaps = np.random.default_rng([_STREAM, seed]).exponential(1.0, count)
    return [float(at) for at in np.cumsum(gaps) / rate]


def largest_rate(holds: Callable[[float], bool], start: float, trials: int) -> float | None:
    """The largest rate found for which ``holds`` is true: raised until one fails, then bisected.

    Args:
        holds: Tries a rate; true of all rates below some bound.
        start: The first rate tried, above 0.
        trials: How often ``holds`` is called.

    Returns:
        None if no rate that was tried was held.
    """
    best: float | None = None
    failed: float | None = None
    rate = start
    for _ in range(trials):
        if holds(rate):
            best = rate if best is None else max(best, rate)
        else:
            failed = rate if failed is None else min(failed, rate)
        if failed is None:
            rate *= _FASTER
        else:
            rate = ((best or 0.0) + failed) / 2
    return best
