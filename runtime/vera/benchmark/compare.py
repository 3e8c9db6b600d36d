"""Ratios of two records, or of the targets of one, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vera.benchmark.quantiles import SAMPLES_NEEDED, Float, Interval, interval, quantile

Told = Mapping[str, Any]  # a run as JSON


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of one load.

    Attributes:
        load: What they had in common.
        one: Name of the first target.
        other: Name of the second.
        latency: Ratio of quantiles, the second over the first: below 1 is faster. A quantile is
            missing where one of the two has too few samples.
        throughput: Likewise: above 1 is more. None if the first completed nothing.
    """

    load: str
    one: str
    other: str
    latency: Mapping[str, Interval]
    throughput: Interval | None


def compare_records(one: Told, other: Told) -> list[Comparison]:
    """The runs that both records have: of the same scenario, clients or rate, and target.

    Where each record has a single target, its name does not matter.
    """
    single = len(one["targets"]) == len(other["targets"]) == 1
    known = {_key(run, named=not single): run for run in other["runs"]}
    pairs = [(run, known.get(_key(run, named=not single))) for run in one["runs"]]
    return [compare_runs(a, b) for a, b in pairs if b is not None]


def compare_targets(runs: Sequence[Told], first: str) -> list[Comparison]:
    """Every run of other targets against that of the target ``first`` under the same load."""
    known = {_key(run, named=False): run for run in runs if run["target"] == first}
    pairs = [(known.get(_key(run, named=False)), run) for run in runs if run["target"] != first]
    return [compare_runs(a, b) for a, b in pairs if a is not None]


def compare_runs(one: Told, other: Told) -> Comparison:
    """Ratios of the second run over the first."""
    a, b = one["latencies"], other["latencies"]
    latency = {}
    for per_cent, needed in SAMPLES_NEEDED.items():
        if min(len(a), len(b)) >= needed:
            latency[f"p{per_cent}"] = interval([a, b], _ratio_of(per_cent))
    return Comparison(load_name(one), one["target"], other["target"], latency, _more(one, other))


def load_name(run: Told) -> str:
    """The load of a run in words."""
    if run["clients"] is not None:
        return f"{run['scenario']}, {run['clients']} at a time"
    return f"{run['scenario']}, {run['rate']:.3g} a second"


def _key(run: Told, *, named: bool) -> tuple[Any, ...]:
    return (run["scenario"], run["clients"], run["rate"], run["target"] if named else None)


def _ratio_of(per_cent: int) -> Any:
    def ratio(a: Float, b: Float, axis: int = -1) -> Float:
        return np.asarray(quantile(b, per_cent, axis) / quantile(a, per_cent, axis), np.float64)

    return ratio


def _more(one: Told, other: Told) -> Interval | None:
    """Ratio of the throughputs; its interval is that of the mean latencies, see ``summary``."""
    first, second = one["throughput"]["value"], other["throughput"]["value"]
    if not first:
        return None
    value = second / first
    a, b = one["latencies"], other["latencies"]
    if one["clients"] is None or min(len(a), len(b)) < 2:
        return Interval(value)
    means = interval([a, b], _ratio_of_means)
    if means.low is None or means.high is None:
        return Interval(value)
    return Interval(value, value * means.low / means.value, value * means.high / means.value)


def _ratio_of_means(a: Float, b: Float, axis: int = -1) -> Float:
    return np.asarray(np.mean(a, axis=axis) / np.mean(b, axis=axis), np.float64)
