"""What Prometheus is told: counts and times of cases, nothing of any one of them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["counter", "gauge", "histogram"]

CASE_VERDICTS = (
    *("anonymized", "refused", "failed", "cancelled", "deadline", "rejected", "invalid"),
)
PHOTO_VERDICTS = ("anonymized", "refused")
STAGES = ("find", "invert", "draw", "bystanders", "gate", "encode", "other")

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_COSINES = (-0.5, -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Attributes:
        name: As Prometheus shows it.
        kind: What may be done with it.
        description: One sentence.
        label: Name of its label, empty for none.
        values: All values of the label.
        buckets: Upper bounds of a histogram.
    """

    name: str
    kind: Kind
    description: str
    label: str = ""
    values: tuple[str, ...] = ("",)
    buckets: tuple[float, ...] = ()


FAMILIES = (
    Family("vera_cases_total", "counter", "Cases by how they ended.", "verdict", CASE_VERDICTS),
    Family("vera_photos_total", "counter", "Results of cases.", "verdict", PHOTO_VERDICTS),
    Family(
        *("vera_stage_seconds", "histogram", "Seconds of a case in one stage.", "stage", STAGES),
        buckets=_SECONDS,
    ),
    Family("vera_queue_seconds", "histogram", "Seconds until a slot.", buckets=_SECONDS),
    Family("vera_case_seconds", "histogram", "Seconds in the slot.", buckets=_SECONDS),
    Family("vera_active_slots", "gauge", "Cases in work."),
    Family("vera_queue_length", "gauge", "Cases that wait for a slot."),
    Family("vera_inversion_steps_total", "counter", "Gradient steps of finished cases."),
    Family(
        "vera_gate_cosine",
        "histogram",
        "Cosine of original and output face, by the embedder of the bundle.",
        buckets=_COSINES,
    ),
)


class Metrics:
    """The families of this process in Triton's registry; may be used by several threads.

    One thread at a time reaches Triton, and a gauge only when it changes: a metric keeps what it
    sends in memory that the next call to it frees, and a server 2.51 has been seen to crash where
    it reads that.
    """

    def __init__(self, metric_family: Any) -> None:
        """Registers all families, so that each is there from the first scrape on.

        Args:
            metric_family: ``triton_python_backend_utils.MetricFamily``.
        """
        self._lock = threading.Lock()
        self._gauges: dict[str, float] = {}
        self._held: list[Any] = []
        self._metrics: dict[tuple[str, str], _Metric] = {}
        for family in FAMILIES:
            self._metrics |= self._registered(metric_family, family)

    def count(self, name: str, value: str = "", amount: float = 1) -> None:
        """Adds to a counter; ``value`` is its label's."""
        with self._lock:
            self._metrics[name, value].add(amount)

    def observe(self, name: str, number: float, value: str = "") -> None:
        """Adds one observation to a histogram."""
        known = (name, value) in self._metrics
        with self._lock:
            self._metrics[name, value if known else "other"].observe(number)

    def set(self, name: str, number: float) -> None:
        """Sets a gauge."""
        with self._lock:
            if self._gauges.get(name) != number:
                self._metrics[name, ""].set(number)
                self._gauges[name] = number

    def _registered(self, made: Any, family: Family) -> Mapping[tuple[str, str], "_Metric"]:
        # Servers before 2.51 have no histograms.
        plain = family.kind == "histogram" and not hasattr(made, "HISTOGRAM")
        endings: Sequence[str] = ("_sum", "_count") if plain else ("",)
        kind = made.COUNTER if plain else getattr(made, family.kind.upper())
        families = [
            made(name=family.name + ending, description=family.description, kind=kind)
            for ending in endings
        ]
        self._held += families
        more = {"buckets": list(family.buckets)} if family.buckets and not plain else {}
        return {
            (family.name, value): _Metric(
                [f.Metric(labels={family.label: value} if value else {}, **more) for f in families],
                plain,
            )
            for value in family.values
        }


class _Metric:
    """One metric, or the two counters that stand for a histogram."""

    def __init__(self, metrics: Sequence[Any], plain: bool) -> None:
        self._metrics, self._plain = metrics, plain

    def add(self, amount: float) -> None:
        self._metrics[0].increment(amount)

    def set(self, number: float) -> None:
        self._metrics[0].set(number)

    def observe(self, number: float) -> None:
        if not self._plain:
            self._metrics[0].observe(number)
            return
        # A counter cannot fall: cosines below 0 are left out of the sum.
        self._metrics[0].increment(max(0.0, number))
        self._metrics[1].increment(1)
