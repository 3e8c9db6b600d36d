"""Clients that stop halfway: they hold neither slots nor other clients up."""

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack

import client_program
import plain_client
import pytest
import raw_connections
from PIL import Image

import vera
from vera.client.connection import Connection
from vera.errors import CancelledError, DeadlineError
from vera.wire import request as requests

LONG = 400  # steps; some twenty seconds
MANY = 24  # connections; Triton 2.51 has 8 threads for HTTP


@pytest.fixture(autouse=True)
def idle(roomy) -> Iterator[None]:
    """Every test finds and leaves a server without a case."""
    roomy.until_idle(60)
    yield
    roomy.until_idle(60)


@pytest.fixture
def plain(roomy) -> Iterator[plain_client.PlainClient]:
    made = plain_client.PlainClient(roomy.grpc)
    yield made
    made.close()


@pytest.fixture(params=["grpc", "http"])
def scheme(request) -> str:
    return request.param


def url_of(server, scheme: str) -> str:
    return f"grpc://{server.grpc}" if scheme == "grpc" else server.http


def assert_others_are_served(server, photo: bytes) -> None:
    for scheme in ("grpc", "http"):
        connection = Connection(url_of(server, scheme), retries=0)
        with vera.Anonymizer(connection=connection) as client:
            job = client.submit([photo], steps=1, seed=1, deadline=30)
            assert job.result()[0].image is not None


HALVES = {
    "nothing at all": ("http", b""),
    "half a line": ("http", b"POST /v2/mod"),
    "half a body": ("http", raw_connections.http_request(b'{"OPTIONS": "{', 100_000)),
    "half a greeting": ("grpc", b"PRI * HTT"),
    "half a message": ("grpc", raw_connections.grpc_request(b"\x0a\x09anonym", 100_000)),
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_half_requests_hold_nobody_up(roomy, photo_file, half):
    scheme, sent = half
    port = roomy.http_port if scheme == "http" else roomy.grpc_port
    with ExitStack() as open_ones:
        for _ in range(MANY):
            open_ones.enter_context(raw_connections.connected(port, sent))
        assert_others_are_served(roomy, photo_file)
        roomy.until_idle(5)
    assert_others_are_served(roomy, photo_file)


def test_client_that_never_reads_over_grpc_keeps_no_slot(roomy, plain, case, photo_file):
    done = roomy.cases("anonymized")
    # 196 kB: more than goes out before the reader takes some of it.
    with plain.abandoned(requests.to_tensors(case(images="raw"))):
        roomy.until(lambda _: roomy.cases("anonymized") == done + 1)
        roomy.until_idle(5)
        assert_others_are_served(roomy, photo_file)


def test_client_that_never_reads_over_http_keeps_no_slot(roomy, case, portrait, photo_file):
    done = roomy.cases("anonymized")
    large = io.BytesIO()
    Image.fromarray(portrait).resize((900, 900)).save(large, "PNG")
    photo = requests.WirePhoto(large.getvalue())
    tensors = requests.to_tensors(case(photo, images="raw", base64=True))
    body = {name: [item.decode() for item in value] for name, value in tensors.items()}
    sent = raw_connections.http_request(
        json.dumps({**body, "OPTIONS": body["OPTIONS"][0]}).encode()
    )
    with raw_connections.connected(roomy.http_port, sent, room=4096):
        roomy.until(lambda _: roomy.cases("anonymized") == done + 1)
        roomy.until_idle(5)
        assert_others_are_served(roomy, photo_file)


def test_killed_client_leaves_its_slot_at_once_over_grpc(roomy, photo_file, tmp_path):
    cancelled = roomy.cases("cancelled")
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_file)
    client = client_program.begun(url_of(roomy, "grpc"), photo, steps=LONG)
    assert roomy.metrics()["vera_active_slots"] == 1
    client_program.killed(client)
    roomy.until_idle(5)
    assert roomy.cases("cancelled") == cancelled + 1


def test_killed_client_leaves_its_slot_at_its_deadline_over_http(roomy, photo_file, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_file)
    client = client_program.begun(url_of(roomy, "http"), photo, steps=LONG, deadline=4)
    client_program.killed(client)
    assert_others_are_served(roomy, photo_file)
    roomy.until_idle(10)


def test_cancelled_case_leaves_its_slot_at_once_over_grpc(roomy, photo_file):
    with vera.Anonymizer(url=url_of(roomy, "grpc")) as client:
        job = client.submit([photo_file], steps=LONG)
        roomy.until(lambda told: told["vera_active_slots"] == 1)
        job.cancel()
        roomy.until_idle(5)
        with pytest.raises(CancelledError):
            job.result(5)


def test_cancelled_case_leaves_its_slot_at_its_deadline_over_http(roomy, photo_file):
    with vera.Anonymizer(url=url_of(roomy, "http")) as client:
        job = client.submit([photo_file], steps=LONG, deadline=4)
        roomy.until(lambda told: told["vera_active_slots"] == 1)
        job.cancel()
        with pytest.raises(CancelledError):
            job.result(2)
        roomy.until_idle(10)


def test_deadline_that_is_shorter_than_the_queue_is_told_and_leaves_it(
    roomy, plain, case, photo_file, scheme
):
    long = requests.to_tensors(case(steps=LONG))
    with plain.abandoned(long), plain.abandoned(long):
        roomy.until(lambda told: told["vera_active_slots"] == 2)
        with vera.Anonymizer(url=url_of(roomy, scheme)) as client:
            job = client.submit([photo_file], steps=1, deadline=1.5)
            roomy.until(lambda told: told["vera_queue_length"] == 1, 5)
            with pytest.raises(DeadlineError, match="was not done in its time"):
                job.result(10)
        roomy.until(lambda told: told["vera_queue_length"] == 0, 5)
        assert roomy.metrics()["vera_active_slots"] == 2
