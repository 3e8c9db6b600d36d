"""The load generator and the targets, on a fake that sleeps a millisecond."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bench_target import BenchAnonymizer, report

from vera.benchmark.agreement import agreement, require_agreement
from vera.benchmark.load import closed_loop, open_loop
from vera.benchmark.target import (
    Anonymizers,
    Answer,
    Clients,
    OneAtATime,
    Query,
    answer_of,
)
from vera.errors import BusyError, DeadlineError, EngineError
from vera.scheduling.job import Job, Times

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

    load = closed(ask, 9, clients=3)
    assert (most, load.most_in_flight) == (3, 3)
    # In step: the first end starts the clock, and of the last three only one is counted. Two that
    # end in one instant are one more.
    assert 6 <= load.steady <= 7
    assert 0 < load.steady_s < load.seconds


def test_a_client_that_never_asked_leaves_no_steady_part():
    assert closed(lambda number: plain(), 2, clients=3).steady == 0


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
    assert len(load.samples) == load.most_in_flight == 6


def test_latency_counts_from_when_a_query_was_due():
    load = open_loop(lambda number: plain(), 0, [0.0, 0.002])
    assert sorted(one.due_s for one in load.samples) == [0.0, 0.002]
    assert all(one.ended_s >= one.due_s for one in load.samples)


def test_an_anonymizer_is_asked_with_the_query_s_settings():
    inner = BenchAnonymizer()
    found = Anonymizers("local", inner).ask(QUERY, images=True)
    wanted = {"photos": [Path("photo.jpg")], "keep": "mouth", "seed": 7, "steps": 3}
    assert inner.asked == [{**wanted, "deadline": None}]
    assert (found.steps, found.loss, found.cosine, found.refused) == (3, 0.5, 0.25, 0)
    assert found.work_s > 0
    assert found.images[0].shape == (4, 4, 3)
    assert Anonymizers("local", inner).ask(QUERY).images == ()


def test_reports_of_refused_photos_are_counted():
    results = [SimpleNamespace(image=None, report=report(1, refused=True))]
    found = answer_of(results, (None, None), images=True)
    assert (found.refused, found.loss, found.cosine, found.images) == (1, None, None, (None,))


def test_waiting_and_work_are_the_server_s_if_it_told_them():
    job = Job(lambda control: None, None)
    job.future.set_result([SimpleNamespace(image=None, report=report(1))])
    job.started, job.ended = job.handed_in + 1, job.handed_in + 3
    target = Anonymizers("server", SimpleNamespace(submit=lambda *_, **__: job))
    found = target.ask(QUERY)
    assert (found.queue_s, found.work_s) == pytest.approx((1, 2))
    job.told = Times(3, 4, 5)
    found = target.ask(QUERY)
    assert (found.queue_s, found.work_s) == (3, 4)


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


def test_one_at_a_time_takes_queries_in_the_order_in_which_they_came():
    inner = BenchAnonymizer()
    target = OneAtATime("one", Anonymizers("", inner), time.perf_counter)
    closed(lambda number: target.ask(replace(QUERY, seed=number)), 30, clients=3)
    target.close()
    order = [asked["seed"] for asked in inner.asked]
    # Clients may swap places on their way into the line, but none is overtaken again and again.
    assert max(abs(place - number) for place, number in enumerate(order)) <= 3


def test_the_wait_for_others_is_a_wait_in_the_queue():
    inner = SimpleNamespace(tolerance=0, ask=lambda query, images: plain_untold())
    clock = iter([10.0, 14.0, 15.5]).__next__
    target = OneAtATime("one", inner, clock)
    found = target.ask(QUERY)
    assert (found.queue_s, found.work_s) == (4.0, 1.5)


def test_a_full_queue_is_counted_as_rejected():
    target = Anonymizers("local", BenchAnonymizer(workers=1, queue=0))
    load = closed(lambda number: target.ask(QUERY), 40, clients=8)
    outcomes = {one.outcome for one in load.samples}
    assert "done" in outcomes
    assert outcomes <= {"done", "rejected"}


def named(name: str, **options) -> Anonymizers:
    return Anonymizers(name, BenchAnonymizer(**options))


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
