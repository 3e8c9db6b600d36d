"""Cases that wait at the client: for room at the server, or until it has said what it is."""

import threading
from dataclasses import replace

import pytest
from triton_stand_in import SERVER, Counting, StandIn

from vera.client.agreement import at_once
from vera.client.connection import Connection
from vera.client.outgoing import outgoing
from vera.client.remote import RemoteCases
from vera.errors import CancelledError, DeadlineError
from vera.wire.event import Done, Progress


def waiting(request, gone):
    """Never comes to an end by itself."""
    yield Progress("invert", 0.2)
    gone.wait(20)
    yield Progress("invert", 0.3)


@pytest.mark.parametrize(
    ("slots", "queue", "most"),
    [(1, 0, 1), (1, 1, 2), (1, 64, 3), (2, 1, 3), (4, 64, 12), (0, 9, 2)],
)
def test_a_few_cases_for_each_slot_are_sent_at_once(slots, queue, most):
    assert at_once(replace(SERVER, slots=slots, queue=queue)) == most


@pytest.mark.parametrize(("queue", "most"), [(1, 2), (64, 3)])
def test_no_more_cases_are_sent_than_that(over, cases, asked, queue, most):
    counting = Counting(most)
    with StandIn(counting, server=replace(SERVER, slots=1, queue=queue)) as server:
        client = cases(over(server))
        jobs = [client.submit(asked) for _ in range(9)]
        assert [len(job.result(10)) for job in jobs] == [1] * 9
        assert counting.most == most


def test_a_case_that_waits_for_room_is_not_read_yet(cases, asked, monkeypatch):
    read = []

    def reads(asked, *rest, **options):
        read.append(asked)
        return outgoing(asked, *rest, **options)

    monkeypatch.setattr("vera.client.remote.outgoing", reads)
    with StandIn(waiting, server=replace(SERVER, slots=1, queue=0)) as server:
        client = cases(server.grpc_url)
        begun = threading.Event()
        client.submit(asked, lambda stage, done: begun.set())
        assert begun.wait(5)
        with pytest.raises(DeadlineError):
            client.submit(asked, deadline=0.2).result(5)
        assert len(read) == 1
        client.close()


class Silent:
    """A way to a server that accepts a request and then says nothing."""

    def __init__(self, connection):
        self.asked = threading.Event()

    def exchange(self, request, timeout_s, cancel):
        over = threading.Event()
        with cancel.breaking(over.set):
            self.asked.set()
            over.wait(10)
        cancel.check()
        yield Done()

    def close(self):
        pass


def test_who_waits_for_another_case_s_first_question_still_has_a_deadline(asked):
    way = Silent(None)
    client = RemoteCases(Connection("grpc://localhost"), open_transport=lambda _: way)
    first = client.submit(asked)
    assert way.asked.wait(5)
    with pytest.raises(DeadlineError):
        client.submit(asked, deadline=0.2).result(5)
    third = client.submit(asked)
    third.cancel()
    with pytest.raises(CancelledError):
        third.result(5)
    assert not first.done()
    client.close()


def test_the_deadline_counts_while_a_case_waits_for_room(cases, asked):
    with StandIn(waiting, server=replace(SERVER, slots=1, queue=0)) as server:
        client = cases(server.grpc_url)
        first = client.submit(asked)
        second = client.submit(asked, deadline=0.3)
        third = client.submit(asked)
        with pytest.raises(DeadlineError):
            second.result(5)
        third.cancel()
        with pytest.raises(CancelledError):
            third.result(5)
        assert not first.done()
        assert len(server.cases()) == 1
