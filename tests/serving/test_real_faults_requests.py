"""Hostile and broken requests to a real server that other tests do not send."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import bombs
import client_program
import grpc
import numpy as np
import plain_client
import pytest
from tritonclient.grpc import service_pb2_grpc as services

import vera
from vera.client.connection import Connection
from vera.errors import UsageError
from vera.settings import Settings
from vera.wire import request as requests
from vera.wire.event import ResultEvent
from vera.wire.request import WirePhoto, WireRequest

_GROWTH_BYTES = 100e6  # far less than the bombs would take


@pytest.fixture
def plain(roomy) -> Iterator[plain_client.PlainClient]:
    made = plain_client.PlainClient(roomy.grpc)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def unharmed(roomy, plain) -> Iterator[None]:
    """Whatever a test sends, the same processes answer the next request."""
    before = roomy.model_processes()
    assert len(before) == 1
    yield
    assert roomy.process.poll() is None
    assert roomy.model_processes() == before
    assert plain.ask(WireRequest(task="describe")).error is None


@pytest.fixture(params=["grpc", "http"])
def remote(request, roomy) -> Iterator[vera.Anonymizer]:
    url = f"grpc://{roomy.grpc}" if request.param == "grpc" else roomy.http
    with vera.Anonymizer(connection=Connection(url, retries=0)) as made:
        yield made


@pytest.fixture(scope="module")
def peak(roomy, photo_file) -> Callable[[], float]:
    """Most memory that the model has taken, beyond what an honest photograph of the size takes."""
    black = WirePhoto(bombs.png(1000, 1000, bombs.zeros(4)))
    client = plain_client.PlainClient(roomy.grpc)
    asked = WireRequest(photos=(black, WirePhoto(photo_file)), settings=Settings(steps=1), seed=1)
    assert client.ask(asked).error is None
    client.close()
    honest = peak_bytes(roomy)
    return lambda: peak_bytes(roomy) - honest


def peak_bytes(server) -> float:
    """Most memory that the model's process has ever had."""
    (process,) = server.model_processes()
    lines = Path("/proc", str(process), "status").read_text().splitlines()
    return 1024 * next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))


BOMBS = {
    "600 MB of pixels where there is room for 3": (
        bombs.png(1000, 1000, bombs.zeros(600)),
        "no-face",
    ),
    "a profile of 600 MB": (
        bombs.png(256, 256, bombs.zeros(1), bombs.profile(600)),
        "unreadable-photo",
    ),
    "a text of 600 MB": (bombs.png(256, 256, bombs.zeros(1), bombs.text(600)), "unreadable-photo"),
    "one pixel high": (bombs.png(1_000_000, 1, bombs.zeros(4)), "no-face"),
    "one pixel wide": (bombs.png(1, 1_000_000, bombs.zeros(4)), "no-face"),
    "one pixel": (bombs.png(1, 1, bombs.zeros(1)), "no-face"),
}


@pytest.mark.parametrize(("data", "reason"), BOMBS.values(), ids=BOMBS)
def test_photograph_made_to_fill_memory_is_refused_alone(
    plain, case, photo_file, peak, data, reason
):
    answer = plain.ask(case(WirePhoto(data), WirePhoto(photo_file)))
    assert answer.error is None
    bad, good = answer.of(ResultEvent)
    assert (bad.report.reason, bad.image) == (reason, None)
    assert good.image is not None
    assert peak() < _GROWTH_BYTES


@pytest.mark.parametrize(
    "data",
    [bombs.png(20_000, 10_000, bombs.zeros(1)), bombs.png(20_000, 10_000, bombs.zeros(600))],
    ids=["of a few bytes", "whole"],
)
def test_200_megapixels_are_not_decoded(plain, case, peak, data):
    with pytest.raises(UsageError, match="far more than the 1000000 pixels taken here"):
        raise plain.ask(case(WirePhoto(data))).failure
    assert peak() < _GROWTH_BYTES


def test_client_refuses_what_the_server_would(remote, photo_file):
    bomb = bombs.png(20_000, 10_000, bombs.zeros(1))
    refused, done = remote.anonymize([bomb, photo_file], steps=1, seed=1)
    assert refused.report.reason == "unreadable-photo"
    assert "too many pixels, more than the 1000000 that the server takes" in refused.report.message
    assert done.image is not None
    (empty,) = remote.anonymize([b""], steps=1, seed=1)
    assert (empty.report.reason, empty.image) == ("unreadable-photo", None)


def test_ten_photographs_are_more_than_the_command_may_send(roomy, photo_file, tmp_path):
    photos = [tmp_path / f"jane{number}.png" for number in range(10)]
    for photo in photos:
        photo.write_bytes(photo_file)
    given = ("--out", tmp_path / "out", "--url", f"grpc://{roomy.grpc}")
    ended = client_program.Ended.of(client_program.vera_command("anonymize", *photos, *given))
    assert ended.code == 2
    assert ended.error == (
        "vera: The server takes at most 2 photographs of a case, got 10; ask for less, or raise "
        "its limit.\n"
    )
    assert list(tmp_path.glob("out/**/*.png")) == []


def sent(server, message) -> list[str]:
    """The errors that a message of Triton's protocol ends in; it has to end."""
    with grpc.insecure_channel(server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        try:
            answers = list(stub.ModelStreamInfer(iter([message]), timeout=20))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            return [error.details()]
        return [answer.error_message for answer in answers if answer.error_message]


def whole():
    """A request that could be done."""
    people = np.ones((1, 128), np.float32)
    asked = WireRequest(photos=(WirePhoto(b"x"),), people=people)
    return plain_client.infer_request("anonymize", requests.to_tensors(asked))


OPTIONS, PHOTOS, PEOPLE = range(3)


def contents(place, content):
    def change(message):
        message.raw_input_contents[place] = content

    return change


def shape(place, *sides):
    def change(message):
        message.inputs[place].shape[:] = sides

    return change


def kind(place, datatype):
    def change(message):
        message.inputs[place].datatype = datatype

    return change


MALFORMED = {
    "text longer than its tensor": contents(PHOTOS, b"\xff\xff\x00\x00x"),
    "text of 4 GB": contents(PHOTOS, b"\xff\xff\xff\xffx"),
    "a length cut short": contents(PHOTOS, b"\x01\x00"),
    "more texts than the shape says": contents(PHOTOS, b"\x01\x00\x00\x00x" * 2),
    "no contents": contents(PHOTOS, b""),
    "options that are no UTF-8": contents(OPTIONS, b"\x02\x00\x00\x00\xff\xfe"),
    "half a number": contents(PEOPLE, b"\x00" * 511),
    "fewer texts than the shape says": shape(PHOTOS, 2),
    "a negative side": shape(PHOTOS, -1),
    "no side": shape(PHOTOS),
    "a side beyond all memory": shape(PHOTOS, 2**62),
    "sides whose product overflows": shape(PEOPLE, 2**33, 2**31),
    "nobody": shape(PEOPLE, 0, 128),
    "a side too many": shape(PHOTOS, 1, 1),
    "numbers in place of texts": kind(PHOTOS, "FP32"),
    "texts in place of numbers": kind(PEOPLE, "BYTES"),
    "a type that does not exist": kind(PEOPLE, "FP33"),
    "a tensor twice": lambda message: message.inputs[PHOTOS].MergeFrom(message.inputs[OPTIONS]),
    "contents missing": lambda message: message.raw_input_contents.pop(),
    "another model": lambda message: setattr(message, "model_name", "../anonymize"),
    "another version": lambda message: setattr(message, "model_version", "99"),
    "an output that does not exist": lambda message: message.outputs.add(name="SECRET"),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_malformed_tensors_end_in_an_error(roomy, change):
    message = whole()
    change(message)
    (error,) = sent(roomy, message)
    assert error


BODIES = {
    "nothing": b"",
    "half an object": b'{"OPTIONS": ',
    "a list": b"[]",
    "no options": b'{"PHOTOS": ["eA=="]}',
    "options that are a number": b'{"OPTIONS": 5}',
    "options that are an object": b'{"OPTIONS": {"protocol": 1}}',
    "numbers in place of texts": b'{"OPTIONS": "{}", "PHOTOS": [1, 2]}',
    "a list of lists": b'{"OPTIONS": "{}", "PHOTOS": [["eA=="]]}',
    "no number": b'{"OPTIONS": "{}", "PEOPLE": [NaN]}',
    "no UTF-8": b'{"OPTIONS": "\xff\xfe"}',
    "an input that does not exist": b'{"OPTIONS": "{}", "SECRET": "x"}',
    "no base64": json.dumps(
        {"OPTIONS": json.dumps({"protocol": 1, "base64": True}), "PHOTOS": ["!"]}
    ).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_malformed_bodies_end_in_an_error(roomy, body):
    url = f"{roomy.http}/v2/models/anonymize/generate_stream"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=20)
    with refused.value as answer:
        assert answer.code in (400, 500)  # Triton's own errors have the latter
        told = answer.read().removeprefix(b"data:")
    assert json.loads(told)["error"]
