"""Many clients at once on a real server: all get their own result, and nobody is forgotten."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from real_triton import RealTriton

import vera
from vera.client.connection import Connection
from vera.errors import BusyError, VeraError

CLIENTS, FEWER = 32, 6
LONG = 400  # steps; some twenty seconds


@pytest.fixture(scope="module")
def alone(roomy, photo_file) -> list[bytes]:
    """The image of each client's case, done while no other one was in work."""
    with vera.Anonymizer(url=f"grpc://{roomy.grpc}") as client:
        return [
            client.anonymize([photo_file], seed=seed, steps=1)[0].image.tobytes()
            for seed in range(CLIENTS)
        ]


@pytest.fixture(scope="module")
def cramped(rendered, started) -> Iterator[RealTriton]:
    """A server with one slot, and one place to wait."""
    running = started(rendered(slots=1, queue=1, threads=2))
    yield running
    running.kill()


def rush(server: RealTriton, photo: bytes, clients: int, **manners) -> list:
    """What each of so many clients gets, a result or an error, who all ask at the same moment."""
    start = threading.Barrier(clients)

    def ask(seed: int):
        url = f"grpc://{server.grpc}" if seed % 2 else server.http
        with vera.Anonymizer(connection=Connection(url, **manners)) as client:
            _ = client.bundle  # met before the rush begins
            start.wait(30)
            try:
                return client.anonymize([photo], seed=seed, steps=1)[0]
            except VeraError as error:
                return error

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, range(clients)))


@contextmanager
def occupied(server: RealTriton, photo: bytes) -> Iterator[None]:
    """While this lasts, a long case is in work."""
    with vera.Anonymizer(url=f"grpc://{server.grpc}") as client:
        job = client.submit([photo], steps=LONG)
        server.until(lambda told: told["vera_active_slots"] == 1)
        try:
            yield
        finally:
            job.cancel()


def images(results: Sequence) -> list[bytes]:
    return [result.image.tobytes() for result in results]


def test_every_client_gets_what_it_would_get_alone(roomy, photo_file, alone):
    done, rejected = roomy.cases("anonymized"), roomy.cases("rejected")
    results = rush(roomy, photo_file, CLIENTS, retries=0)
    assert [result.report.seed for result in results] == list(range(CLIENTS))
    assert images(results) == alone
    assert len(set(alone)) > CLIENTS // 2  # else a mix-up could not be seen
    roomy.until(lambda _: roomy.cases("anonymized") == done + CLIENTS)
    assert roomy.cases("rejected") == rejected
    roomy.until_idle()


def test_clients_for_whom_there_is_no_room_are_told_at_once(cramped, photo_file, alone):
    done = cramped.cases("anonymized")
    with ThreadPoolExecutor(1) as pool, occupied(cramped, photo_file):
        rushing = pool.submit(rush, cramped, photo_file, FEWER, retries=0)
        cramped.until(lambda _: cramped.cases("rejected") == FEWER - 1)
        assert cramped.metrics()["vera_queue_length"] == 1
    told = rushing.result()
    refused = [one for one in told if isinstance(one, VeraError)]
    assert {type(error) for error in refused} == {BusyError}
    assert {str(error) for error in refused} == {
        "The queue is full (slots: 1, places to wait: 1); try again later."
    }
    waited = [seed for seed, one in enumerate(told) if not isinstance(one, VeraError)]
    assert images([told[seed] for seed in waited]) == [alone[seed] for seed in waited]
    assert len(waited) == 1
    cramped.until(lambda _: cramped.cases("anonymized") == done + 1)


def test_clients_who_come_again_are_all_served_once(cramped, photo_file, alone):
    done, rejected = cramped.cases("anonymized"), cramped.cases("rejected")
    patient = {"retries": 100, "retry_budget": 100, "backoff_s": 0.1}
    with ThreadPoolExecutor(1) as pool, occupied(cramped, photo_file):
        rushing = pool.submit(rush, cramped, photo_file, FEWER, **patient)
        cramped.until(lambda _: cramped.cases("rejected") >= rejected + FEWER - 1)
    assert images(rushing.result()) == alone[:FEWER]
    cramped.until_idle()
    assert cramped.cases("anonymized") == done + FEWER
