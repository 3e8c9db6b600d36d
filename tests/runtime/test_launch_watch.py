"""A model that answers no more while its server says that all is well."""

import threading
from collections.abc import Iterator

import pytest
from triton_stand_in import BreakOff, StandIn

from vera.errors import BusyError
from vera.launch.watch import Watch, describes_itself
from vera.wire.event import Done, Event


def test_a_model_that_misses_often_enough_is_lost():
    told = iter((True, False, False, False))
    assert Watch(lambda: next(told), every_s=0.01, misses=3).lost.wait(10)
    assert not list(told)


def test_a_model_that_answers_in_between_is_not_lost():
    enough = threading.Event()
    turns = iter(range(60))

    def asked() -> bool:
        turn = next(turns, None)
        if turn is None:
            enough.set()
            return True
        return turn % 3 == 0

    watch = Watch(asked, every_s=0.001, misses=3)
    assert enough.wait(10)
    assert not watch.lost.is_set()
    watch.close()


def test_a_watch_that_was_closed_finds_nothing():
    asked, go = threading.Event(), threading.Event()

    def never() -> bool:
        asked.set()
        go.wait()
        return False

    watch = Watch(never, every_s=0.001, misses=1)
    assert asked.wait(10)
    watch.close()
    go.set()
    assert not watch.lost.wait(0.2)


class Odd(StandIn):
    """Asked what it is, it does what its test wants."""

    def __init__(self, *told: Event | Exception) -> None:
        super().__init__()
        self.told, self.go_on = told, threading.Event()

    def events(self, tensors, gone: threading.Event) -> Iterator[Event]:
        for one in self.told:
            if isinstance(one, Exception):
                raise one
            yield one
        if not self.told:
            self.go_on.wait(20)


def test_a_model_that_says_what_it_is_answers():
    with StandIn() as server:
        assert describes_itself(server.http_url)
        assert server.cases() == []


@pytest.mark.parametrize(
    "told",
    [(BusyError("It is closing."),), (BreakOff(),), (Done(),)],
    ids=["an error", "a connection that dies", "something else"],
)
def test_only_a_description_counts_as_an_answer(told):
    with Odd(*told) as server:
        assert not describes_itself(server.http_url)


def test_a_model_that_says_nothing_for_long_does_not_answer():
    with Odd() as server:
        assert not describes_itself(server.http_url, patience_s=0.2)
        server.go_on.set()


@pytest.mark.parametrize("page", [(503, "data: {}"), (200, "<html>"), (200, "data: <html>")])
def test_another_page_is_no_answer(page):
    with StandIn() as server:
        server.http_status = page
        assert not describes_itself(server.http_url)


def test_a_server_that_is_gone_does_not_answer():
    with StandIn() as server:
        url = server.http_url
    assert not describes_itself(url)
