"""The scenarios: who is asked what, in which order, after which warm-up, on a fake."""

import threading
from pathlib import Path

import pytest
from bench_target import BenchAnonymizer

from vera.benchmark.scenario import Bench, Plan, best_rates, queries_over
from vera.benchmark.target import Anonymizers, Answer, Query
from vera.errors import EngineError

QUERY = Query((Path("photo.jpg"),), "mouth", 7, {"steps": 3})


def plain() -> Answer:
    return Answer(0.0, 0.0, 0, 0, None, None, 0)


def bench(*targets, say=lambda line: None, **plan) -> Bench:
    queries = queries_over([QUERY], 5)
    return Bench(targets, queries, Plan(**{"queries": 6, "backoff_s": 0, **plan}), say)


def runs_of(scenario: str, *targets, **plan) -> list:
    asked = bench(*targets, **plan)
    asked.run(scenario)
    return asked.runs


def named(name: str, **options) -> Anonymizers:
    return Anonymizers(name, BenchAnonymizer(**options), slots=options.get("workers", 1))


class Noted:
    """Answers at once, and knows who asked what."""

    tolerance = 0.0
    slots = 1

    def __init__(self, name, order):
        self.name, self.order, self.prepared = name, order, []

    def prepare(self, clients):
        self.prepared.append(clients)

    def ask(self, query, *, images=False):
        self.order.append((self.name, query.seed))
        return plain()


def test_query_numbers_take_the_photographs_in_turn_and_always_another_seed():
    other = Query((Path("other.jpg"),), "mouth", 7)
    query = queries_over([QUERY, other], 100)
    assert [query(n).seed for n in range(3)] == [100, 101, 102]
    assert [query(n).photos for n in range(3)] == [QUERY.photos, other.photos, QUERY.photos]


def test_all_targets_get_the_same_queries_in_alternating_parts():
    order = []
    targets = Noted("a", order), Noted("b", order)
    runs = runs_of("single-stream", *targets, rounds=3, queries=12)
    assert [name for name, _ in order] == [*"aaaabbbbbbbbaaaaaaaabbbb"]
    for name in "ab":
        assert [seed for one, seed in order if one == name] == list(range(5, 17))
    assert [(run.target, run.completed) for run in runs] == [("a", 12), ("b", 12)]


@pytest.mark.parametrize(
    ("queries", "clients", "parts"), [(32, 16, "ab"), (128, 16, "abba"), (32, 1, "abbaabba")]
)
def test_a_part_has_four_queries_of_each_client_at_least(queries, clients, parts):
    order = []
    targets = Noted("a", order), Noted("b", order)
    runs_of("offline", *targets, clients=(clients,), queries=queries, warmup=0)
    each = queries * 2 // len(parts)
    assert "".join(name for name, _ in order[::each]) == parts
    assert len(order) == 2 * queries


def test_every_client_asks_twice_at_least_and_it_is_said():
    said = []
    (run,) = runs_of("offline", named("a"), clients=(4,), say=said.append)
    assert run.queries == 8
    assert said[0] == "note: 4 at a time ask 8 queries, two each at least"
    (run,) = runs_of("offline", named("a"), clients=(3,), say=said.append)
    assert run.queries == 6


def test_a_load_that_is_cut_off_says_what_its_throughput_counts():
    said = []
    asked = {"clients": (2,), "say": said.append}
    (run,) = runs_of("offline", named("a"), seconds=1e-9, **asked)
    assert run.steady == 0
    assert "not all clients were busy; give more --queries" in said[-1]
    (run,) = runs_of("offline", named("a", workers=2), queries=20, **asked)
    assert run.steady > 0
    assert "not all clients" not in said[-1]


def test_a_sweep_has_a_run_for_every_number_of_clients():
    runs = runs_of("sweep", named("a", workers=2), clients=(1, 3))
    assert [(run.clients, run.completed) for run in runs] == [(1, 6), (3, 6)]
    assert runs[1].in_work is not None


def test_offline_asks_as_many_at_a_time_as_the_largest_number_of_clients():
    (run,) = runs_of("offline", named("a", workers=2), clients=(1, 3))
    assert (run.scenario, run.clients) == ("offline", 3)


def test_the_server_scenario_tries_the_rate_given():
    (run,) = runs_of("server", named("a"), rate=500.0, bound_s=60.0)
    assert (run.rate, run.clients, run.queries, run.held) == (500.0, None, 6, True)


def test_the_server_scenario_looks_for_a_rate():
    runs = runs_of("server", named("a"), bound_s=60.0, trials=3)
    assert len(runs) == 3
    assert best_rates(runs) == {"a": max(run.rate for run in runs)}


def test_no_rate_is_held_where_none_keeps_the_bound():
    runs = runs_of("server", named("a"), bound_s=1e-9, trials=2)
    assert best_rates(runs) == {"a": None}


def test_all_targets_are_held_to_one_bound():
    runs = runs_of("server", named("a"), named("b"), trials=1)
    assert [run.target for run in runs] == ["a", "b"]
    assert runs[0].bound_s == runs[1].bound_s > 0


def test_a_target_without_an_answer_sets_no_bound():
    runs = runs_of("server", named("a", failing=True), named("b"), trials=1, warmup=0)
    assert [run.target for run in runs] == ["b"]
    assert runs[0].bound_s > 0


def test_before_arrivals_there_is_a_client_for_each():
    target = Noted("a", [])
    runs_of("server", target, queries=40, rate=1e6)
    assert target.prepared == [40]


def together(slots: int, count: int) -> Noted:
    """A target whose first queries end when so many of them are there."""
    barrier, left = threading.Barrier(count, timeout=10), iter(range(count))

    class Together(Noted):
        def ask(self, query, *, images=False):
            if next(left, None) is not None:
                barrier.wait()
            return super().ask(query, images=images)

    made = Together("a", [])
    made.slots = slots
    return made


@pytest.mark.parametrize(("slots", "clients", "warm"), [(2, 8, 4), (8, 3, 3), (1, 1, 0)])
def test_a_target_is_warmed_up_by_as_many_at_once_as_the_load_asks(slots, clients, warm):
    target = together(slots, warm) if warm else Noted("a", [])
    asked = bench(target, clients=(clients,), queries=16)
    asked.run("offline")
    assert (asked.asked, asked.runs[0].queries) == (16 + warm, 16)
    asked.run("offline")  # it is warm
    assert asked.asked == 32 + warm


def test_without_warm_up_nothing_is_asked_beside_the_load():
    asked = bench(Noted("a", []), clients=(2,), warmup=0)
    asked.run("offline")
    assert asked.asked == 6


def test_the_warm_up_tells_the_libraries_of_every_target():
    asked = bench(named("a"), named("b", told={"opencv": "4"}), warmup=1)
    asked.warm_up()
    assert asked.versions == {"a": {"opencv": "5"}, "b": {"opencv": "4"}}
    assert asked.asked == 2


def test_a_target_that_fails_at_the_warm_up_ends_the_benchmark():
    with pytest.raises(EngineError, match="The engine broke"):
        bench(named("a", failing=True)).warm_up()
