"""A server that is stopped, killed, or left alone in the middle of a case."""

import time
from pathlib import Path

import grpc
import pytest
from plain_client import Answer, PlainClient, read

from vera.wire import request as requests
from vera.wire.event import Done, Progress, ResultEvent


def begun(stream):
    """The answer so far of a case that is in work."""
    answer = Answer()
    while not answer.of(Progress):
        read(next(stream), answer)
    return answer


def rest(stream, answer):
    """Reads to the end."""
    for response in stream:
        read(response, answer)


def test_stopped_server_ends_its_case_and_takes_no_new_one(own_server, case):
    client = PlainClient(own_server.grpc)
    stream = client.stream(requests.to_tensors(case(steps=60)))
    answer = begun(stream)
    own_server.terminate()
    rest(stream, answer)
    assert answer.error is None
    assert isinstance(answer.events[-1], Done)
    assert len(answer.of(ResultEvent)) == 1
    with pytest.raises((grpc.RpcError, AssertionError)):
        assert client.ask(case()).error is None
    client.close()
    assert own_server.process.wait(30) == 0
    assert '"event": "closed"' in own_server.lines()
    assert "Exit timeout expired" not in own_server.lines()


def test_server_with_abandoned_cases_stops_in_order(own_server, case):
    client = PlainClient(own_server.grpc)
    tensors = requests.to_tensors(case(steps=400))
    for _ in range(5):
        with client.abandoned(tensors) as stream:
            begun(stream)
    cancelled = 'vera_cases_total{verdict="cancelled"}'
    ends = time.monotonic() + 15
    while own_server.metrics()[cancelled] < 5 and time.monotonic() < ends:
        time.sleep(0.05)
    client.close()
    own_server.stop()
    assert '"event": "closed"' in own_server.lines()


def test_killed_server_breaks_the_stream_and_leaves_no_memory(own_server, case):
    client = PlainClient(own_server.grpc)
    stream = client.stream(requests.to_tensors(case(steps=400)))
    answer = begun(stream)
    own_server.kill()
    with pytest.raises(grpc.RpcError) as told:
        rest(stream, answer)
    assert told.value.code() == grpc.StatusCode.UNAVAILABLE
    assert answer.of(ResultEvent) == []
    assert list(Path("/dev/shm").glob(f"{own_server.prefix}*")) == []
    client.close()
