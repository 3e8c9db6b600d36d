"""From the samples of a load to the figures of a run."""

from collections.abc import Sequence

from vera.benchmark.load import Load, Sample
from vera.benchmark.quantiles import Interval, mean, quantiles
from vera.benchmark.record import Accuracy, Run, ScenarioName
from vera.benchmark.target import Answer

# The share of the queries of the server scenario that may be later than the bound (MLPerf).
LATE_SHARE = 0.01


def summarize(
    target: str,
    scenario: ScenarioName,
    load: Load,
    *,
    clients: int | None = None,
    rate: float | None = None,
    bound_s: float | None = None,
) -> Run:
    """The figures of a load.

    Args:
        target: Name of what was asked.
        scenario: What the load was for.
        load: Its samples.
        clients: Of a closed loop.
        rate: Of an open loop, per second.
        bound_s: Of the server scenario.
    """
    done = [one for one in load.samples if one.answer is not None]
    latencies = [one.latency_s for one in done]
    answers = [one.answer for one in done if one.answer is not None]
    within = _within(load.samples, bound_s)
    return Run(
        target=target,
        scenario=scenario,
        clients=clients,
        rate=rate,
        seconds=load.seconds,
        queries=len(load.samples),
        completed=len(done),
        rejected=sum(one.outcome == "rejected" for one in load.samples),
        expired=sum(one.outcome == "deadline" for one in load.samples),
        failed=sum(one.outcome == "failed" for one in load.samples),
        throughput=_throughput(load, latencies, closed=rate is None),
        latency=_spread(latencies),
        slowest=max(latencies, default=None),
        most_in_flight=load.most_in_flight,
        steady=load.steady,
        queue=_told([answer.queue_s for answer in answers]),
        work=_told([answer.work_s for answer in answers]),
        in_work=_in_work(answers, load.seconds),
        accuracy=accuracy(answers),
        latencies=tuple(latencies),
        failure=None if load.failure is None else type(load.failure).__name__,
        bound_s=bound_s,
        within=within,
        held=None if within is None else within >= 1 - LATE_SHARE,
    )


def accuracy(answers: Sequence[Answer]) -> Accuracy:
    """What the answers say of their pictures."""
    losses = [answer.loss for answer in answers if answer.loss is not None]
    cosines = [answer.cosine for answer in answers if answer.cosine is not None]
    return Accuracy(
        photos_refused=sum(answer.refused for answer in answers),
        loss=sum(losses) / len(losses) if losses else None,
        cosine=max(cosines, default=None),
        kept_difference=max((answer.kept_difference for answer in answers), default=0),
        steps=sum(answer.steps for answer in answers) / len(answers) if answers else 0.0,
    )


def _spread(values: Sequence[float]) -> dict[str, Interval | None]:
    return {"mean": mean(values), **quantiles(values)} if values else {}


def _told(values: Sequence[float | None]) -> dict[str, Interval | None] | None:
    """The spread of what every answer tells, else None."""
    known = [value for value in values if value is not None]
    return _spread(known) if known and len(known) == len(values) else None


def _throughput(load: Load, latencies: Sequence[float], *, closed: bool) -> Interval:
    """Completed cases a second, of a closed loop while all clients were busy.

    In a closed loop the clients are always waiting, so the throughput is their number over the mean
    latency (Little), and its relative interval is the mean latency's. Resampling the gaps between
    answers would not do: cases that advance together end together.
    """
    if load.steady:
        value = load.steady / load.steady_s
    else:  # arrivals, or too few answers: the ends of the load count, too
        value = len(latencies) / load.seconds if load.seconds > 0 else 0.0
    if not closed or not latencies:
        return Interval(value)
    middle = mean(latencies)
    if not middle.low or not middle.high:
        return Interval(value)
    return Interval(value, value * middle.value / middle.high, value * middle.value / middle.low)


def _in_work(answers: Sequence[Answer], seconds: float) -> float | None:
    """Mean number of cases in work at a time, by Little's law."""
    spent = [answer.work_s for answer in answers if answer.work_s is not None]
    if not spent or len(spent) < len(answers) or seconds <= 0:
        return None
    return sum(spent) / seconds


def _within(samples: Sequence[Sample], bound_s: float | None) -> float | None:
    if bound_s is None or not samples:
        return None
    good = sum(one.outcome == "done" and one.latency_s <= bound_s for one in samples)
    return good / len(samples)
