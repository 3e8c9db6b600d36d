"""Quantiles, schedules, summaries and comparisons, with numbers worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy import stats

from vera.benchmark.arrivals import largest_rate, poisson
from vera.benchmark.compare import compare_records, compare_runs, compare_targets
from vera.benchmark.load import Load, Sample, joined, steady_part
from vera.benchmark.quantiles import Interval, interval, mean, quantile, quantiles, share_limit
from vera.benchmark.summary import summarize
from vera.benchmark.target import Answer
from vera.errors import EngineError


def answer(**changes) -> Answer:
    told = {"queue_s": 1.0, "work_s": 2.0, "steps": 4, "refused": 0, "loss": 0.5}
    return Answer(**{**told, "cosine": 0.25, "kept_difference": 0, **changes})


def samples(*latencies: float, **changes) -> list[Sample]:
    """Queries due one a second."""
    return [
        Sample(float(i), i + latency, answer=answer(**changes))
        for i, latency in enumerate(latencies)
    ]


def told(target: str, latencies, *, clients=1, rate=None, throughput=1.0) -> dict:
    """A run as it stands in a record."""
    return {
        "target": target,
        "scenario": "sweep" if rate is None else "server",
        "clients": clients,
        "rate": rate,
        "latencies": list(latencies),
        "throughput": {"value": throughput, "low": None, "high": None},
    }


def test_a_quantile_is_a_sample_that_so_many_do_not_exceed():
    values = [5.0, 1, 2, 4, 3, 10, 9, 8, 7, 6]
    assert [float(quantile(values, p)) for p in (50, 90, 95, 99)] == [5, 9, 10, 10]


def test_quantiles_of_too_few_samples_are_not_told():
    assert [name for name, value in quantiles([1.0] * 99).items() if value] == ["p50"]
    assert quantiles(list(np.arange(100.0)))["p90"].value == 89
    assert quantiles(list(np.arange(199.0)))["p95"] is None
    assert quantiles(list(np.arange(200.0)))["p95"].value == 189
    assert quantiles(list(np.arange(999.0)))["p99"] is None
    assert quantiles(list(np.arange(1000.0)))["p99"].value == 989


def test_quantiles_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="no samples"):
        quantiles([])


def test_the_interval_of_a_mean_is_near_the_one_of_the_normal_theory():
    values = np.random.default_rng(3).normal(10, 2, 400)
    found = mean(list(values))
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.03)


def test_the_interval_of_a_median_covers_it_about_95_times_in_100():
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(40):
        found = interval([random.exponential(1, 60)], lambda a, axis=-1: quantile(a, 50, axis))
        covered += found.low <= np.log(2) <= found.high
    assert 34 <= covered <= 40


def test_one_sample_has_no_interval():
    assert mean([2.0]) == Interval(2.0, None, None)


def test_few_samples_have_their_range_in_place_of_an_interval():
    assert mean([1.0, 2, 6]) == Interval(3.0, least=1, most=6)
    assert mean([1.0] * 19) == Interval(1.0, least=1, most=1)
    assert mean([1.0] * 20) == Interval(1.0, 1, 1)


def test_a_ratio_of_few_samples_has_neither():
    found = compare_runs(told("a", [1.0] * 19), told("b", [3.0] * 30, throughput=0.25))
    assert found.latency == {"p50": Interval(3.0)}
    assert found.throughput == Interval(0.25)


def test_a_scaled_interval_scales_its_ends():
    assert Interval(1.0, 0.5, 2.0).scaled(60) == Interval(60, 30, 120)
    assert Interval(1.0, least=0.5, most=2.0).scaled(60) == Interval(60, least=30, most=120)
    assert Interval(1.0).scaled(2) == Interval(2.0)


def test_the_limit_of_a_share_is_clopper_and_pearson_s():
    assert share_limit(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    wanted = stats.binomtest(3, 50, alternative="less").proportion_ci(0.95).high
    assert share_limit(3, 50) == pytest.approx(wanted)
    assert share_limit(5, 5) == 1


def test_poisson_arrivals_come_at_the_rate_with_exponential_gaps():
    due = np.array(poisson(4.0, 4000, seed=1))
    gaps = np.diff(due, prepend=0.0)
    assert (gaps > 0).all()
    assert due[-1] / 4000 == pytest.approx(0.25, rel=0.05)
    assert stats.kstest(gaps, "expon", args=(0, 0.25)).pvalue > 0.01


def test_poisson_arrivals_depend_on_the_seed_alone_and_scale_with_the_rate():
    assert poisson(1, 5, seed=1) == poisson(1, 5, seed=1)
    assert poisson(1, 5, seed=1) != poisson(1, 5, seed=2)
    assert poisson(2, 5, seed=1) == pytest.approx([at / 2 for at in poisson(1, 5, seed=1)])


@pytest.mark.parametrize(
    ("bound", "trials", "wanted", "asked"),
    [
        (3.0, 5, 2.8125, [2, 3.0, 4.5, 3.75, 3.375]),
        (0.6, 4, 0.5, [2, 1, 0.5, 0.75]),
        (9.0, 2, 3.0, [2, 3.0]),
        (0.0, 3, None, [2, 1, 0.5]),
    ],
)
def test_the_largest_rate_is_raised_until_it_fails_and_then_bisected(bound, trials, wanted, asked):
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= bound

    found = largest_rate(holds, 2, trials)
    assert tried == asked
    assert found == (None if wanted is None else max(rate for rate in tried if rate <= bound))


def test_a_summary_tells_counts_throughput_and_split():
    lost = [Sample(1, 2, "rejected"), Sample(2, 9, "deadline"), Sample(1, 1, "failed")]
    load = Load((*samples(3, 3, 3, 3), *lost), 8.0, EngineError("x"))
    run = summarize("local", "sweep", load, clients=2)
    assert (run.queries, run.completed, run.rejected, run.expired, run.failed) == (7, 4, 1, 1, 1)
    assert run.throughput == Interval(0.5)
    assert run.latency["p50"].value == run.slowest == 3
    assert (run.queue["p50"].value, run.work["mean"].value) == (1, 2)
    assert run.in_work == 4 * 2 / 8  # Little: work done over the time it took
    assert run.failure == "EngineError"


def test_the_interval_of_the_throughput_is_the_mean_latency_s_turned_over():
    latencies = [1.0, 2, 3, 4, 5, 6] * 4
    load = Load(tuple(samples(*latencies)), 12.0)
    middle = mean(latencies)
    found = summarize("t", "sweep", load, clients=1).throughput
    assert found.value == 2
    assert found.low == pytest.approx(found.value * middle.value / middle.high)
    assert found.high == pytest.approx(found.value * middle.value / middle.low)
    assert summarize("t", "server", load, rate=1.0).throughput == Interval(2)


def served(slots: int, clients: int, count: int, way: float) -> list[Sample]:
    """Asked in a closed loop: seconds on the way, then one in a slot."""
    ends: list[float] = []
    for number in range(count):
        due = 0.0 if number < clients else ends[number - clients]
        begin = max(due + way, ends[number - slots] if number >= slots else 0.0)
        ends.append(begin + 1 + 1e-9 * number)  # no two in one instant
    dues = [0.0] * clients + ends
    return [Sample(due, end, answer=answer()) for due, end in zip(dues, ends, strict=False)]


@pytest.mark.parametrize(
    ("slots", "clients", "way"),
    [(1, 1, 0), (1, 16, 0), (2, 2, 0), (2, 16, 0), (16, 16, 0), (2, 16, 4), (1, 8, 6)],
)
def test_throughput_is_that_of_the_slots_however_short_the_load(slots, clients, way):
    found = served(slots, clients, 32, way)
    first_to_leave = found[-clients].ended_s  # its client had nothing more to ask
    steady, steady_s = steady_part(found, first_to_leave)
    load = Load(tuple(found), found[-1].ended_s, steady=steady, steady_s=steady_s)
    run = summarize("t", "sweep", load, clients=clients)
    assert run.throughput.value == pytest.approx(slots)
    assert run.steady == steady > 0


def test_what_ends_when_a_client_has_left_does_not_count():
    found = [Sample(0, 2), Sample(0, 3), Sample(2, 5), Sample(3, 9), Sample(0, 4, "rejected")]
    assert steady_part(found, 5) == (2, 3)
    assert steady_part(found, 2) == (0, 0)
    assert steady_part(found, 0) == (0, 0)  # a client that never asked


def test_without_a_steady_part_the_whole_load_is_counted():
    run = summarize("t", "sweep", Load(tuple(samples(3, 3)), 4.0), clients=2)
    assert (run.throughput.value, run.steady) == (0.5, 0)


def test_a_target_that_does_not_tell_its_split_has_none():
    run = summarize("t", "sweep", Load(tuple(samples(1, 2, queue_s=None, work_s=None)), 3.0))
    assert (run.queue, run.work, run.in_work) == (None, None, None)


def test_a_load_without_an_answer_has_no_latencies():
    run = summarize("t", "sweep", Load((Sample(0, 1, "rejected"),), 1.0), clients=1)
    assert (run.latency, run.slowest, run.throughput) == ({}, None, Interval(0.0))


def test_accuracy_is_the_mean_loss_and_the_worst_of_the_rest():
    load = (
        *samples(1, loss=0.2, cosine=0.1, kept_difference=0, refused=0, steps=2),
        *samples(1, loss=0.4, cosine=0.3, kept_difference=2, refused=1, steps=4),
        *samples(1, loss=None, cosine=None, refused=1, steps=0),
    )
    found = summarize("t", "sweep", Load(load, 3.0)).accuracy
    assert (found.loss, found.cosine, found.kept_difference) == (pytest.approx(0.3), 0.3, 2)
    assert (found.photos_refused, found.steps) == (2, 2)


@pytest.mark.parametrize(("late", "held"), [(1, True), (2, False)])
def test_a_bound_is_held_if_one_in_a_hundred_is_late(late, held):
    load = samples(*[1.0] * (100 - late), *[9.0] * late)
    run = summarize("t", "server", Load(tuple(load), 100.0), rate=1.0, bound_s=2.0)
    assert run.within == pytest.approx(1 - late / 100)
    assert run.held is held


def test_a_rejected_query_does_not_hold_the_bound():
    load = [*samples(1.0, 1.0), Sample(0, 0.1, "rejected"), Sample(0, 0.1, "failed")]
    assert summarize("t", "server", Load(tuple(load), 2.0), rate=1.0, bound_s=2.0).within == 0.5


def test_joined_loads_follow_each_other_without_a_gap():
    one = Load((Sample(0, 2),), 2.0, None, 3, 5, 0.5)
    other = Load((Sample(0, 1), Sample(1, 3)), 3.0, EngineError("broke"), 2, 6, 1.0)
    found = joined([one, other])
    assert (found.most_in_flight, found.steady, found.steady_s) == (3, 11, 1.5)
    assert [(s.due_s, s.ended_s) for s in found.samples] == [(0, 2), (2, 3), (3, 5)]
    assert (found.seconds, str(found.failure)) == (5.0, "broke")


def test_a_comparison_is_the_ratio_of_the_quantiles():
    found = compare_runs(told("a", [1.0] * 100), told("b", [3.0] * 100, throughput=0.25))
    assert found.latency["p50"] == Interval(3, 3, 3)
    assert set(found.latency) == {"p50", "p90"}
    assert found.throughput == Interval(0.25, 0.25, 0.25)
    assert found.load == "sweep, 1 at a time"


def test_the_interval_of_a_ratio_covers_the_known_one():
    random = np.random.default_rng(2)
    a, b = random.uniform(1, 2, 300), 2 * random.uniform(1, 2, 300)
    found = compare_runs(told("a", a), told("b", b)).latency["p50"]
    assert found.low < 2 < found.high
    assert found.high - found.low < 0.4


def test_what_completed_nothing_has_no_ratios():
    found = compare_runs(told("a", [], throughput=0.0), told("b", [1.0]))
    assert (found.latency, found.throughput) == ({}, None)


def test_runs_are_compared_with_the_same_load_only():
    one = {"targets": {"x": {}}, "runs": [told("x", [1.0] * 3), told("x", [1.0], clients=2)]}
    other = {"targets": {"y": {}}, "runs": [told("y", [2.0] * 3), told("y", [1.0], clients=4)]}
    (found,) = compare_records(one, other)
    assert (found.one, found.other, found.load) == ("x", "y", "sweep, 1 at a time")


def test_with_several_targets_names_must_agree():
    one = {"targets": {"x": {}, "y": {}}, "runs": [told("x", [1.0]), told("y", [1.0])]}
    other = {"targets": {"y": {}}, "runs": [told("y", [2.0])]}
    (found,) = compare_records(one, other)
    assert (found.one, found.other, found.latency["p50"].value) == ("y", "y", 2)


def test_targets_of_one_record_are_compared_with_the_first():
    runs = [told("a", [2.0]), told("b", [1.0]), told("a", [5.0], clients=2)]
    (found,) = compare_targets(runs, "a")
    assert (found.one, found.other, found.latency["p50"].value) == ("a", "b", 0.5)


def test_an_open_loop_is_told_by_its_rate():
    found = compare_runs(
        told("a", [1.0], clients=None, rate=2.0), told("b", [1.0], clients=None, rate=2.0)
    )
    assert found.load == "server, 2 a second"
    assert found.throughput == Interval(1.0)
