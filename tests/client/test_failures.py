"""Errors of a server and of the way to it: their classes, their sentences, and what is repeated."""

import threading
import time
from dataclasses import replace

import grpc
import pytest
from PIL import Image
from triton_stand_in import SERVER, BreakOff, StandIn, served

from vera import errors
from vera.case.request import CaseRequest
from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.client.failures import LostError, of_status, told
from vera.client.remote import RemoteCases
from vera.client.retrying import Patience, RetryBudget
from vera.errors import (
    BusyError,
    CancelledError,
    DeadlineError,
    EngineError,
    ServerError,
    UsageError,
)
from vera.scheduling.job import Times
from vera.settings import Settings
from vera.wire.event import Done, Progress
from vera.wire.server import Limits


def failing(times: int, error: Exception, begin=()):
    """Answers that fail so often, after ``begin``, and then do well."""
    left = [times]

    def answer(request, gone):
        if left[0] > 0:
            left[0] -= 1
            yield from begin
            raise error
        yield from served(request, gone)

    return answer


def waiting(request, gone):
    """Never comes to an end by itself."""
    yield Progress("invert", 0.2)
    gone.wait(20)
    yield Progress("invert", 0.3)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("No such region; name another."),
        EngineError("An engine broke; look into the log."),
        DeadlineError("The case was late; give it more time."),
        ServerError("The bundle is another one; ask again."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_server_come_as_they_are_and_are_not_repeated(
    stand_in, over, cases, asked, error
):
    stand_in.answer = failing(9, error)
    with pytest.raises(type(error)) as raised:
        cases(over(stand_in)).run(asked)
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert len(stand_in.cases()) == 1


@pytest.mark.parametrize("error", [BusyError("The queue is full; try later."), BreakOff()])
def test_a_busy_or_lost_server_is_asked_again_for_the_very_same(stand_in, over, cases, error):
    stand_in.answer = failing(2, error, [Progress("invert", 0.7)])
    told = []
    asked = CaseRequest(["/nowhere/photo.png"], settings=Settings(variants=2))
    results = cases(over(stand_in)).run(asked, lambda stage, done: told.append(done))
    assert len(results) == 2
    sent = stand_in.cases()
    assert len(sent) == 3
    assert len({request.seed for request in sent}) == 1
    assert told == sorted(told)


def test_after_all_retries_the_last_error_is_told(stand_in, over, cases, asked):
    stand_in.answer = failing(9, BusyError("The queue is full; try later."))
    with pytest.raises(BusyError, match="queue is full"):
        cases(over(stand_in), retries=2).run(asked)
    assert len(stand_in.cases()) == 3


def test_a_stream_that_ends_too_early_is_an_error(stand_in, over, cases, asked):
    def half(request, gone):
        yield from list(served(request, gone))[:-1]

    stand_in.answer = half
    with pytest.raises(ServerError, match="broke off in the middle"):
        cases(over(stand_in), retries=0).run(asked)


def test_results_that_do_not_fit_the_request_are_not_used(stand_in, over, cases, asked):
    stand_in.answer = lambda request, gone: iter([Done()])
    with pytest.raises(ServerError, match="0 results instead of 1"):
        cases(over(stand_in)).run(asked)
    assert len(stand_in.cases()) == 1


def test_an_anonymized_photograph_without_its_image_is_not_used(stand_in, over, cases, asked):
    def bare(request, gone):
        for event in served(request, gone):
            yield replace(event, image=None) if hasattr(event, "image") else event

    stand_in.answer = bare
    with pytest.raises(ServerError, match="a verdict that its image contradicts"):
        cases(over(stand_in)).run(asked)


def test_nobody_at_the_address_is_one_sentence(asked):
    for scheme in ("grpc", "http"):
        client = RemoteCases(Connection(f"{scheme}://127.0.0.1:1", retries=0))
        with pytest.raises(ServerError, match=r"server at \w+://127.0.0.1:1 cannot be reached"):
            client.run(asked)
        client.close()


def test_retries_of_a_client_are_one_budget(stand_in, cases, asked):
    stand_in.answer = failing(99, BusyError("The queue is full; try later."))
    client = cases(stand_in.grpc_url, retries=5, retry_budget=4)
    for _ in range(4):
        with pytest.raises(BusyError):
            client.run(asked)
    assert len(stand_in.cases()) == 4 + 4  # one try of each case, and the budget


def test_cases_that_go_well_fill_the_budget_again():
    budget = RetryBudget(2)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    budget.succeeded(1)
    assert [budget.take(), budget.take()] == [True, False]
    for _ in range(5):
        budget.succeeded(0)
    assert [budget.take(), budget.take()] == [True, False]
    budget.succeeded(99)
    assert [budget.take() for _ in range(3)] == [True, True, False]


def test_a_retry_that_would_come_too_late_is_not_waited_for(stand_in, cases, asked):
    stand_in.answer = failing(99, BusyError("The queue is full; try later."))
    client = cases(stand_in.grpc_url, backoff_s=1e6, retries=9)
    # The first wait is drawn from up to 30 s; at least one of a few is beyond the deadline.
    with pytest.raises(BusyError):
        client.run(asked, deadline=0.5)
    assert len(stand_in.cases()) < 9


def test_the_deadline_is_told_to_the_server_and_ends_the_case(stand_in, over, cases, asked):
    stand_in.answer = waiting
    with pytest.raises(DeadlineError):
        cases(over(stand_in)).run(asked, deadline=0.5)
    assert 0 < stand_in.cases()[0].deadline_s <= 0.5
    assert len(stand_in.cases()) == 1


def test_a_deadline_that_is_over_sends_nothing():
    patience = Patience(Connection("grpc://localhost"), RetryBudget(1), 1e-9, Cancellation())
    time.sleep(0.001)
    with pytest.raises(DeadlineError):
        patience.left()


@pytest.mark.parametrize("begins", [True, False], ids=["in the middle", "before any answer"])
def test_a_cancelled_case_closes_its_stream(stand_in, over, cases, asked, begins):
    begun, released = threading.Event(), threading.Event()

    def answer(request, gone):
        begun.set()
        if begins:
            yield Progress("invert", 0.2)
        while not gone.wait(0.01) and not released.is_set():
            pass
        for _ in range(3):  # over HTTP a server notices only that nobody takes what it says
            yield Progress("invert", 0.3)

    stand_in.answer = answer
    client = cases(over(stand_in))
    _ = client.bundle
    stand_in.ended.clear()
    job = client.submit(asked)
    assert begun.wait(5)
    job.cancel()
    try:
        with pytest.raises(CancelledError):
            job.result(5)
    finally:
        released.set()
    assert stand_in.ended.wait(5)
    assert len(stand_in.cases()) == 1


def test_closing_a_client_cancels_its_cases(stand_in, over, cases, asked):
    begun = threading.Event()

    def answer(request, gone):
        begun.set()
        yield from waiting(request, gone)

    stand_in.answer = answer
    client = cases(over(stand_in))
    jobs = [client.submit(asked) for _ in range(3)]
    assert begun.wait(5)
    client.close()
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result(1)


def test_a_call_that_somebody_else_cancelled_is_lost_and_repeated(stand_in, cases, asked):
    stand_in.answer = failing(1, BreakOff(grpc.StatusCode.CANCELLED))
    assert len(cases(stand_in.grpc_url).run(asked)) == 1
    assert len(stand_in.cases()) == 2


def test_a_job_tells_the_times_of_the_server(stand_in, over, cases, asked):
    job = cases(over(stand_in)).submit(asked)
    job.result(5)
    assert job.times == Times(0.25, 1.5, 30)


def test_a_draining_client_finishes_its_cases(stand_in, over, cases, asked):
    client = cases(over(stand_in))
    jobs = [client.submit(asked) for _ in range(3)]
    client.close(drain=True)
    assert [len(job.result(0)) for job in jobs] == [1, 1, 1]


def test_an_iteration_that_is_left_closes_its_stream(stand_in, asked):
    from vera.client.grpc_transport import GrpcTransport
    from vera.wire.request import WirePhoto, WireRequest

    stand_in.answer = waiting
    transport = GrpcTransport(Connection(stand_in.grpc_url))
    events = transport.exchange(WireRequest(photos=(WirePhoto(b""),)), None, Cancellation())
    assert next(events) == Progress("invert", 0.2)
    events.close()
    assert stand_in.ended.wait(5)
    transport.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"protocol": 9}, "protocol 9, not 1"), ({"contract": 99}, "engine contract 99")],
)
def test_a_server_of_another_kind_is_named_in_one_sentence(over, cases, asked, changes, named):
    with StandIn(server=replace(SERVER, **changes)) as server:
        with pytest.raises(ServerError, match=named):
            cases(over(server)).run(asked)
        assert server.cases() == []


def test_limits_of_the_server_are_known_before_anything_is_sent(cases, image, tmp_path):
    flat = tmp_path / "flat.png"
    Image.new("L", (40, 40)).save(flat)
    assert flat.stat().st_size < 100
    limits = Limits(bytes=100, pixels=1599, photos=2, variants=2, steps=50)
    large = tmp_path / "jane.jpg"
    large.write_bytes(bytes(101))
    with StandIn(server=replace(SERVER, limits=limits)) as server:
        client = cases(server.grpc_url)
        for asked, named in (
            (CaseRequest([image] * 3, seed=1), "at most 2 photographs of a case, got 3"),
            (CaseRequest([image], seed=1, settings=Settings(variants=3)), "2 variants, got 3"),
            (CaseRequest([image], seed=1, settings=Settings(steps=51)), "50 steps, got 51"),
        ):
            with pytest.raises(UsageError, match=named):
                client.run(asked)
        assert server.cases() == []
        results = client.run(CaseRequest([image, large], ["none", large], 1))
        results += client.run(CaseRequest([flat], seed=1))
    messages = [result.report.message for result in results]
    assert "1600 pixels, more than the 1599" in messages[0]
    assert "101 bytes, more than the 100" in messages[1]
    assert "1600 pixels, more than the 1599" in messages[2]
    assert {result.report.reason for result in results} == {"unreadable-photo"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Request for unknown model: 'anonymize' is not found", ServerError),
        ("Request for unknown model: 'anonymize' has no available versions", BusyError),
        ("inference request exceeds maximum queue size", BusyError),
        ("Request timeout expired", BusyError),
        ("Stub process 'anonymize_0' is not healthy.", BusyError),
        ("in ensemble: BusyError: The queue is full.", BusyError),
        ("something of another release", ServerError),
    ],
)
def test_words_of_triton_have_a_class(text, kind):
    assert type(told(text)) is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", BusyError),
        (502, b"<html>bad gateway</html>", LostError),
        (401, b"", ServerError),
        (404, b"<html>", ServerError),
        (413, b"", ServerError),
        (400, b'{"error": "UsageError: No such region."}', UsageError),
        (500, b'{"error": "EngineError: An engine broke."}', EngineError),
        (418, b"{}", ServerError),
    ],
)
def test_statuses_of_http_have_a_class(status, body, kind):
    assert type(of_status(status, body, "http://host")) is kind


def test_a_gateway_s_page_is_not_repeated_in_a_message(stand_in, cases, asked):
    stand_in.http_status = (418, "<html>Jane Doe</html>")
    with pytest.raises(ServerError, match="said HTTP 418") as raised:
        cases(stand_in.http_url).run(asked)
    assert "Jane" not in str(raised.value)


def test_every_class_that_travels_is_a_class_of_ours():
    for name in ("BusyError", "CancelledError", "DeadlineError", "ServerError"):
        assert issubclass(getattr(errors, name), errors.VeraError)
