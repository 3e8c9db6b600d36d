"""Words and sizes of a server that means no good."""

import json

import numpy as np
import pytest

from vera.client.agreement import agreed
from vera.client.answers import MOST_BYTES, largest_answer
from vera.client.failures import MisfitError, lost, told
from vera.client.grpc_messages import event_of as grpc_event_of
from vera.client.http_messages import Lines, Page, event_of
from vera.errors import BusyError, ServerError
from vera.wire import event as events
from vera.wire.event import Described, Progress
from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import Limits, ServedBundle, ServerContract

RESULT = {"event": "result", "index": 0, "count": 1, "shape": None, "report": {}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({**RESULT, "index": float("inf")}),
        json.dumps({**RESULT, "count": float("nan")}),
        json.dumps({**RESULT, "index": "0"}),
        json.dumps({**RESULT, "index": True}),
        json.dumps({**RESULT, "shape": [1, 2]}),
        json.dumps({**RESULT, "shape": [float("inf"), 2, 3]}),
        '{"event": "done", "queue_s": 1, "work_s": 1, "steps": 1e999}',
        '{"event": "progress", "stage": "a", "fraction": 1' + "0" * 400 + "}",
        "[" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        '{"event": "result", "index": 0, "count": 1, "shape": null, "report": {"keep": '
        + "[" * 900
        + "]" * 900
        + "}}",
        "7",
        "\xff",
    ],
)
def test_what_is_no_event_is_one_sentence(text):
    with pytest.raises(ServerError) as raised:
        events.from_tensors({"EVENT": [text.encode("latin-1")]})
    assert "update the older of client and server" in str(raised.value)


def test_words_of_a_server_say_nothing_to_a_terminal():
    stage = {"event": "progress", "stage": "\x1b[2J\u202efind\n", "fraction": 0.1}
    event = events.from_tensors({"EVENT": [json.dumps(stage).encode()]})
    assert event == Progress(" [2J find ", 0.1)
    rows = {"event": "checked", "rows": [["a\x07", "\x9b31m", True]]}
    (row,) = events.from_tensors({"EVENT": [json.dumps(rows).encode()]}).rows
    assert (row.name + row.value).isprintable()
    busy = told("BusyError: Full\x1b]0;owned\x07; try later.")
    assert type(busy) is BusyError
    for error in (busy, told("\x1b[31mred"), lost("grpc://localhost", "\x1b[31m\nred")):
        assert str(error).isprintable()


@pytest.mark.parametrize(
    "changes",
    [{"slots": "many"}, {"limits": {"pixels": None}}, {"vera": 7}, {"bundle": {"digest": 5}}],
)
def test_a_server_that_describes_itself_oddly_is_one_sentence(changes):
    contract = ServerContract(ServedBundle("b", "1", "d", {}), Limits()).to_json()
    for name, value in changes.items():
        contract[name] = {**contract[name], **value} if isinstance(value, dict) else value
    described = {"event": "described", "server": contract}
    event = events.from_tensors({"EVENT": [json.dumps(described).encode()]})
    assert isinstance(event, Described)
    with pytest.raises(ServerError, match="in a way that is not understood"):
        agreed([event, events.Done()], "grpc://localhost")


@pytest.mark.parametrize("value", [{"a": 1}, [{}], [["a"], 1], [1e999, "b"], [[1], [1, 2]]])
def test_a_tensor_over_http_that_is_none_is_one_sentence(value):
    data = json.dumps({"EVENT": json.dumps({"event": "done"}), "PERSON": value}).encode()
    with pytest.raises(ServerError):
        event_of(data)


def test_a_line_that_goes_on_and_on_ends_the_case():
    lines = Lines(100)
    assert list(lines.feed(b"data: " + b"a" * 90)) == []
    assert list(lines.feed(b"a\n")) == [b"a" * 91]
    assert list(lines.feed(b"data: " + b"a" * 90)) == []
    with pytest.raises(MisfitError, match="more than an answer can be"):
        list(lines.feed(b"a" * 90))


def test_of_a_page_that_is_no_answer_the_beginning_is_read():
    page = Page()
    assert [page.is_full_with(b"a" * 40_000) for _ in range(3)] == [False, True, True]
    assert len(page.content) == 65_536


def test_an_answer_is_at_most_as_large_as_its_photograph_makes_it():
    pixels = np.zeros((2000, 3000, 3), np.uint8)
    request = WireRequest(photos=(WirePhoto(pixels.tobytes(), shape=pixels.shape), WirePhoto(b"")))
    most = largest_answer(request, as_text=False)
    assert pixels.size < most < pixels.size * 2 + 16_000_000
    assert largest_answer(request, as_text=True) > pixels.size * 4 / 3
    assert largest_answer(WireRequest("describe"), as_text=False) < 30_000_000
    assert most < MOST_BYTES < 2**31


def test_a_message_that_is_too_large_ends_the_case():
    from tritonclient.grpc import service_pb2

    answer = service_pb2.ModelStreamInferResponse(error_message="a" * 1000)
    with pytest.raises(MisfitError, match="more than an answer can be"):
        grpc_event_of(answer, 999)
