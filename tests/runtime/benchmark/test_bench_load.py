"""The load generator and the targets, on a fake that sleeps a millisecond."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bench_target import BenchAnonymizer, report

from vera.benchmark.agreement import agreement, require_agreement
from vera.benchmark.load import closed_loop, open_loop
from vera.benchmark.scenario import Bench, Plan, best_rates, queries_over
from vera.benchmark.target import (
    Anonymizers,
    Answer,
    Clients,
    OneAtATime,
    Query,
    answer_of,
    own_times,
    told_times,
)
from vera.errors import BusyError, DeadlineError, EngineError

QUERY = Query((Path("photo.jpg"),), "mouth", 7, {"steps": 3})


def plain(images=()) -> Answer:
    return Answer(0.0, 0.0, 0, 0, None, None, 0, images=tuple(images))


def plain_untold() -> Answer:
    return Answer(None, None, 0, 0, None, None, 0)


def closed(ask, count, **changes):
    return closed_loop(ask, 0, count, **{"clients": 2, "seconds": None, "backoff_s": 0, **changes})


def test_a_closed_loop_asks_every_query_once():
    asked = []

    def ask(number):
        asked.append(number)
        return plain()

    load = closed_loop(ask, 5, 20, clients=4, seconds=None, backoff_s=0)
    assert sorted(asked) == list(range(5, 25))
    assert len(load.samples) == 20
    assert all(0 <= one.due_s <= one.ended_s <= load.seconds + 1 for one in load.samples)


def test_a_closed_loop_has_so_many_on_their_way_and_no_more():
    inside, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3, timeout=10)

    def ask(number):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait()
        with lock:
            inside -= 1
        return plain()

    closed(ask, 9, clients=3)
    assert most == 3


@pytest.mark.parametrize("error", [BusyError("full"), EngineError("It broke.")])
def test_a_client_that_was_not_answered_waits(error):
    def ask(number):
        raise error

    load = closed(ask, 3, clients=1, backoff_s=0.005)
    assert load.samples[2].due_s >= 0.01


def test_no_query_is_begun_after_the_time_is_over():
    load = closed(lambda number: plain(), 10**6, seconds=1e-9)
    assert len(load.samples) <= 2


def test_errors_of_vera_are_counted_and_do_not_end_the_load():
    errors = [BusyError("full"), DeadlineError("late"), EngineError("It broke."), None]

    def ask(number):
        if errors[number % 4]:
            raise errors[number % 4]
        return plain()

    load = closed(ask, 8)
    outcomes = [one.outcome for one in load.samples]
    assert {name: outcomes.count(name) for name in outcomes} == {
        "rejected": 2,
        "deadline": 2,
        "failed": 2,
        "done": 2,
    }
    assert str(load.failure) == "It broke."


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_an_error_that_is_not_vera_s_ends_the_load_and_comes_out(loop):
    def ask(number):
        raise ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        closed(ask, 4) if loop == "closed" else open_loop(ask, 0, [0.0, 0.0])


def test_an_open_loop_asks_all_queries_though_none_is_answered_yet():
    all_there = threading.Barrier(6, timeout=10)

    def ask(number):
        all_there.wait()
        return plain()

    load = open_loop(ask, 3, [0.001 * i for i in range(6)])
    assert len(load.samples) == 6


def test_latency_counts_from_when_a_query_was_due():
    load = open_loop(lambda number: plain(), 0, [0.0, 0.002])
    assert sorted(one.due_s for one in load.samples) == [0.0, 0.002]
    assert all(one.ended_s >= one.due_s for one in load.samples)


def test_an_anonymizer_is_asked_with_the_query_s_settings():
    inner = BenchAnonymizer()
    found = Anonymizers("local", inner).ask(QUERY, images=True)
    assert inner.asked == [{"photos": [Path("photo.jpg")], "keep": "mouth", "seed": 7, "steps": 3}]
    assert (found.steps, found.loss, found.cosine, found.refused) == (3, 0.5, 0.25, 0)
    assert found.work_s > 0
    assert found.images[0].shape == (4, 4, 3)
    assert Anonymizers("local", inner).ask(QUERY).images == ()


def test_reports_of_refused_photos_are_counted():
    results = [SimpleNamespace(image=None, report=report(1, refused=True))]
    found = answer_of(results, (None, None), images=True)
    assert (found.refused, found.loss, found.cosine, found.images) == (1, None, None, (None,))


def test_a_server_that_does_not_tell_its_times_has_no_split():
    times = SimpleNamespace(queue_s=1, work_s=2)
    assert told_times(SimpleNamespace(times=times)) == (None, None)  # the client's own
    assert told_times(SimpleNamespace(told=times)) == (1, 2)
    assert own_times(SimpleNamespace(times=times)) == (1, 2)


def test_clients_of_a_server_are_strangers_to_each_other():
    opened = []

    def open_client():
        opened.append(BenchAnonymizer(workers=1, queue=0))
        return Anonymizers("server", opened[-1], tolerance=0.05)

    target = Clients("server", open_client)
    assert (len(opened), target.tolerance) == (1, 0.05)
    load = closed(lambda number: target.ask(QUERY), 12, clients=3)
    assert [one.outcome for one in load.samples] == ["done"] * 12  # none of the three is in two
    assert len(opened) <= 3
    target.prepare(5)
    assert len(opened) == 5
    target.close()
    assert all(client.closed for client in opened)


def test_one_at_a_time_lets_nobody_in_beside_another():
    inner = BenchAnonymizer(workers=1, queue=0)  # would reject a second one
    target = OneAtATime("one", Anonymizers("", inner), clock=iter(range(100)).__next__)
    load = closed(lambda number: target.ask(QUERY), 6, clients=3)
    assert [one.outcome for one in load.samples] == ["done"] * 6
    target.close()
    assert inner.closed


def test_the_wait_for_the_lock_is_a_wait_in_the_queue():
    inner = SimpleNamespace(tolerance=0, ask=lambda query, images: plain_untold())
    clock = iter([10.0, 14.0, 15.5]).__next__
    found = OneAtATime("one", inner, clock).ask(QUERY)
    assert (found.queue_s, found.work_s) == (4.0, 1.5)


def test_a_full_queue_is_counted_as_rejected():
    target = Anonymizers("local", BenchAnonymizer(workers=1, queue=0))
    load = closed(lambda number: target.ask(QUERY), 40, clients=8)
    outcomes = {one.outcome for one in load.samples}
    assert "done" in outcomes
    assert outcomes <= {"done", "rejected"}


def bench(*targets, **plan) -> Bench:
    queries = queries_over([QUERY], 5)
    return Bench(
        targets, queries, Plan(**{"queries": 6, "backoff_s": 0, **plan}), lambda line: None
    )


def named(name: str, **options) -> Anonymizers:
    return Anonymizers(name, BenchAnonymizer(**options))


def test_query_numbers_take_the_photographs_in_turn_and_always_another_seed():
    other = Query((Path("other.jpg"),), "mouth", 7)
    query = queries_over([QUERY, other], 100)
    assert [query(n).seed for n in range(3)] == [100, 101, 102]
    assert [query(n).photos for n in range(3)] == [QUERY.photos, other.photos, QUERY.photos]


def test_all_targets_get_the_same_queries_in_alternating_parts():
    order = []

    class Noted:
        tolerance = 0.0

        def __init__(self, name):
            self.name = name

        def prepare(self, clients):
            pass

        def ask(self, query, *, images=False):
            order.append((self.name, query.seed))
            return plain()

    runs = list(bench(Noted("a"), Noted("b"), rounds=3).run("single-stream"))
    assert [name for name, _ in order] == [*"aabbbbaaaabb"]
    for name in "ab":
        assert [seed for one, seed in order if one == name] == [5, 6, 7, 8, 9, 10]
    assert [(run.target, run.completed) for run in runs] == [("a", 6), ("b", 6)]


def test_a_sweep_has_a_run_for_every_number_of_clients():
    runs = list(bench(named("a", workers=2), clients=(1, 3)).run("sweep"))
    assert [(run.clients, run.completed) for run in runs] == [(1, 6), (3, 6)]
    assert runs[1].in_work is not None


def test_offline_asks_as_many_at_a_time_as_the_largest_number_of_clients():
    (run,) = bench(named("a", workers=2), clients=(1, 3)).run("offline")
    assert (run.scenario, run.clients) == ("offline", 3)


def test_the_server_scenario_tries_the_rate_given():
    (run,) = bench(named("a"), rate=500.0, bound_s=60.0).run("server")
    assert (run.rate, run.clients, run.queries, run.held) == (500.0, None, 6, True)


def test_the_server_scenario_looks_for_a_rate():
    runs = list(bench(named("a"), bound_s=60.0, trials=3).run("server"))
    assert len(runs) == 3
    assert best_rates(runs) == {"a": max(run.rate for run in runs)}


def test_no_rate_is_held_where_none_keeps_the_bound():
    runs = list(bench(named("a"), bound_s=1e-9, trials=2).run("server"))
    assert best_rates(runs) == {"a": None}


def test_the_warm_up_tells_the_libraries_of_every_target():
    asked = bench(named("a"), named("b", told={"opencv": "4"}), warmup=1)
    asked.warm_up()
    assert asked.versions == {"a": {"opencv": "5"}, "b": {"opencv": "4"}}
    assert asked.asked == 2


def test_a_target_that_fails_at_the_warm_up_ends_the_benchmark():
    with pytest.raises(EngineError, match="The engine broke"):
        bench(named("a", failing=True)).warm_up()


def test_targets_that_make_the_same_pictures_agree():
    (found,) = require_agreement([named("a"), named("b")], [QUERY, QUERY])
    assert (found.target, found.pictures, found.equal, found.largest) == ("b", 2, 2, 0)
    assert found.loss == 0


def test_a_target_alone_is_not_asked():
    inner = BenchAnonymizer()
    assert require_agreement([Anonymizers("a", inner)], [QUERY]) == []
    assert inner.asked == []


def test_without_a_tolerance_a_single_grey_level_is_an_error():
    with pytest.raises(EngineError, match=r"b and a do not do the same work: 0 of 1 pictures"):
        require_agreement([named("a"), named("b", shade=1)], [QUERY])


def elsewhere(**options) -> Anonymizers:
    return Anonymizers("b", BenchAnonymizer(**options), tolerance=0.05)


def test_with_a_tolerance_pictures_may_differ_as_long_as_losses_agree():
    (found,) = require_agreement([named("a"), elsewhere(shade=1, told={"loss": 0.52})], [QUERY])
    assert (found.equal, found.largest, found.mean) == (0, 1, 1)
    assert found.loss == pytest.approx(0.02 / 0.52)
    (found,) = require_agreement([elsewhere(told={"loss": 0.52}), named("a")], [QUERY])
    assert found.allowed == 0.05


def test_losses_beyond_the_tolerance_are_an_error():
    with pytest.raises(EngineError, match=r"final losses differ by up to 9\.1 %"):
        require_agreement([named("a"), elsewhere(told={"loss": 0.55})], [QUERY])


def test_a_picture_that_only_one_target_refused_is_no_agreement():
    picture = np.zeros((2, 2, 3), np.uint8)
    wanted, refused = [plain([None, picture])], [plain([None, None])]
    assert (agreement("b", wanted, refused, 0.05).pictures, wanted[0].refused) == (1, 0)
    refused = [replace(refused[0], refused=1)]
    assert not agreement("b", wanted, refused, 0.05).holds
