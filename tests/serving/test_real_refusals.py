"""What a real server says to senseless, hostile and late requests; it is as well as before."""

import json
import time
import zlib

import numpy as np
import pytest
from plain_client import Answer, read

from vera.errors import BusyError, DeadlineError, ServerError, UsageError
from vera.wire import request as requests
from vera.wire.event import Done, Progress, ResultEvent
from vera.wire.request import WireRequest

LONG = 400  # steps; some twenty seconds


@pytest.fixture(autouse=True)
def unharmed(client):
    """After whatever a test sends, the next request is answered."""
    yield
    assert client.ask(WireRequest(task="describe")).error is None


def options(**changes):
    tensors = requests.to_tensors(WireRequest())
    told = {**json.loads(tensors["OPTIONS"][0]), **changes}
    return {"OPTIONS": [json.dumps(told).encode()]}


def bomb(side):
    """A PNG file of a few kilobytes that says it is ``side`` pixels wide and high."""
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    rows = zlib.compress(b"\x00" * 1000)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"OPTIONS": [b"no json"]}, "OPTIONS is no JSON"),
        ({"OPTIONS": [b"[1]"]}, "must be a JSON object"),
        ({"OPTIONS": [b"[" * 100_000]}, "OPTIONS"),
        ({"OPTIONS": [b'"' + b"x" * 1_000_001 + b'"']}, "OPTIONS has"),
        ({"PHOTOS": [b"x"]}, "OPTIONS"),
        (options(protocol=2), "speaks protocol 1"),
        (options(task="delete"), "'task' must be"),
        (options(photos=[{}, {}]) | {"PHOTOS": [b"x"]}, "describes 2"),
        (options() | {"PHOTOS": [b"x"] * 3}, "2 photographs at most"),
        (options(), "at least one photograph"),
        (options(photos=[{"keep": "/etc/passwd"}]) | {"PHOTOS": [b"x"]}, "no region to keep"),
        (options(photos=[{"mask": 0}]) | {"PHOTOS": [b"x"]}, "'mask' of photo 1"),
        (options(photos=[{"shape": [9, 9, 3]}]) | {"PHOTOS": [b"x"]}, "but has 1 bytes"),
        (options(base64=True) | {"PHOTOS": [b"\xff"]}, "base64"),
        (options(settings={"stepps": 1}) | {"PHOTOS": [b"x"]}, "no setting"),
        (options(settings={"steps": 401}) | {"PHOTOS": [b"x"]}, "401 steps"),
        (options(settings={"variants": 3}) | {"PHOTOS": [b"x"]}, "3 variants"),
        (options(seed=-1) | {"PHOTOS": [b"x"]}, "seed must be"),
        (options(bundle="0" * 64) | {"PHOTOS": [b"x"]}, "another one was asked for"),
        (options() | {"PHOTOS": [b"x" * 2_000_001]}, "more than the 2000000"),
        (options() | {"PHOTOS": [bomb(14_200)]}, "201640000 pixels|far more"),
        (options() | {"PHOTOS": [bomb(1_100)]}, "1210000 pixels"),
        (options() | {"PHOTOS": [b"x"], "PEOPLE": np.full((1, 128), np.nan)}, "not finite"),
        (options() | {"PHOTOS": [b"x"], "PEOPLE": np.zeros((2, 5))}, r"must be \[m, 128\]"),
    ],
)
def test_senseless_request_is_told_in_a_sentence(client, tensors, said):
    answer = client.send(tensors, timeout=20)
    assert answer.events == []
    with pytest.raises(UsageError, match=said):
        raise answer.failure


def test_cases_are_done_after_senseless_requests(client, case):
    assert client.ask(case()).of(ResultEvent)[0].image is not None


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        options() | {"NOPE": np.zeros(1)},
        options() | {"PHOTOS": np.zeros(1)},
        {"OPTIONS": [b"{}", b"{}"]},
    ],
)
def test_what_triton_refuses_by_itself_is_a_server_error(client, tensors):
    assert isinstance(client.send(tensors, timeout=20).failure, ServerError)


def test_cancelled_case_leaves_its_slot(server, client, case):
    before = verdicts(server, "cancelled")
    with client.abandoned(requests.to_tensors(case(steps=LONG))) as stream:
        answer = Answer()
        while not answer.of(Progress):
            read(next(stream), answer)
    until(lambda: verdicts(server, "cancelled") == before + 1)
    until(lambda: server.metrics()["vera_active_slots"] == 0)


def test_waiting_case_whose_client_leaves_is_cancelled(server, client, case):
    before = verdicts(server, "cancelled")
    with (
        client.abandoned(requests.to_tensors(case(steps=LONG))),
        client.abandoned(requests.to_tensors(case(steps=LONG))),
    ):
        until(lambda: server.metrics()["vera_active_slots"] == 2)
        with client.abandoned(requests.to_tensors(case(steps=LONG))):
            until(lambda: server.metrics()["vera_queue_length"] == 1)
        until(lambda: server.metrics()["vera_queue_length"] == 0)
        assert verdicts(server, "cancelled") == before + 1
    until(lambda: verdicts(server, "cancelled") == before + 3)


def test_full_queue_is_told_as_busy(server, client, case):
    before = verdicts(server, "rejected")
    long = requests.to_tensors(case(steps=LONG))
    with client.abandoned(long), client.abandoned(long):
        until(lambda: server.metrics()["vera_active_slots"] == 2)
        with client.abandoned(long):
            until(lambda: server.metrics()["vera_queue_length"] == 1)
            answer = client.ask(case())
            assert answer.events == []
            with pytest.raises(BusyError, match="try again later"):
                raise answer.failure
    until(lambda: verdicts(server, "rejected") == before + 1)
    until(lambda: server.metrics()["vera_active_slots"] == 0)


def test_deadline_ends_a_case(server, client, case):
    before = verdicts(server, "deadline")
    answer = client.ask(case(steps=LONG, deadline_s=0.7))
    assert answer.of(ResultEvent) == []
    assert isinstance(answer.failure, DeadlineError)
    until(lambda: verdicts(server, "deadline") == before + 1)


def test_deadline_ends_a_case_that_waits(server, client, case):
    long = requests.to_tensors(case(steps=LONG))
    with client.abandoned(long), client.abandoned(long):
        until(lambda: server.metrics()["vera_active_slots"] == 2)
        answer = client.ask(case(deadline_s=0.3))
        assert answer.events == []
        assert isinstance(answer.failure, DeadlineError)


def test_describe_and_check_do_not_wait_behind_cases(server, client, case):
    long = requests.to_tensors(case(steps=LONG))
    with client.abandoned(long), client.abandoned(long):
        until(lambda: server.metrics()["vera_active_slots"] == 2)
        for task in ("describe", "check"):
            assert isinstance(client.ask(WireRequest(task=task)).events[-1], Done)


def verdicts(server, name):
    return server.metrics()[f'vera_cases_total{{verdict="{name}"}}']


def until(holds, seconds=15.0):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)
