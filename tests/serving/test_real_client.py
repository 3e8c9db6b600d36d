"""VerA's own client against a real server: the same objects as in process, and the same errors."""

import asyncio
import threading
import time

import local_case
import numpy as np
import pytest

import vera
from vera.client.asynchronous import AsyncAnonymizer
from vera.client.connection import Connection
from vera.errors import BusyError, CancelledError, DeadlineError, ServerError, UsageError

LONG = 400  # steps


@pytest.fixture(params=["grpc", "http"])
def remote(request, server):
    url = f"grpc://{server.grpc}" if request.param == "grpc" else server.http
    with vera.Anonymizer(url=url, connection=Connection(url, retries=0)) as made:
        yield made


def test_results_are_those_of_the_process(remote, photo_file, in_process):
    (result,) = remote.anonymize([photo_file], keep="mouth", seed=7, steps=2)
    ((image, report, person),) = in_process[0]
    assert result.image.tobytes() == image
    assert local_case.timeless(result.report) == local_case.timeless(report)
    assert result.person.tobytes() == person


def test_arrays_and_masks_are_taken(remote, portrait, mask_file, photo_file, in_process):
    results = remote.anonymize(
        [photo_file, portrait], keep=["mouth", mask_file], seed=11, steps=1, variants=2
    )
    assert [result.image.tobytes() for result in results] == [
        image for image, _, _ in in_process[1]
    ]


def test_limit_of_the_server_is_told(remote, photo_file):
    with pytest.raises(UsageError, match="2"):
        remote.anonymize([photo_file] * 3, steps=1)


def test_cancelled_job_frees_the_server(remote, server, photo_file):
    told = threading.Event()
    job = remote.submit([photo_file], steps=LONG, progress=lambda stage, done: told.set())
    assert told.wait(20)
    job.cancel()
    with pytest.raises(CancelledError):
        job.result(20)
    # Two slots and one place in the queue are free again.
    jobs = [remote.submit([photo_file], steps=1, seed=i) for i in range(2)]
    assert all(job.result(60)[0].image is not None for job in jobs)


def test_deadline_is_kept(remote, photo_file):
    with pytest.raises(DeadlineError):
        remote.submit([photo_file], steps=LONG, deadline=0.8).result(30)


def test_server_full_of_others_cases_is_busy(server, photo_file):
    url = f"grpc://{server.grpc}"
    at_once = Connection(url, retries=0)
    with vera.Anonymizer(connection=at_once) as others, vera.Anonymizer(connection=at_once) as late:
        jobs = [others.submit([photo_file], steps=LONG) for _ in range(3)]
        ends = time.monotonic() + 20
        while server.metrics()["vera_queue_length"] < 1 and time.monotonic() < ends:
            time.sleep(0.05)
        with pytest.raises(BusyError):
            late.anonymize([photo_file], steps=1)
        for job in jobs:
            job.cancel()
        for job in jobs:
            with pytest.raises(CancelledError):
                job.result(20)


def test_many_asynchronous_cases_come_out_right(server, photo_file):
    async def run():
        connection = Connection(f"grpc://{server.grpc}", retries=50, retry_budget=500)
        async with AsyncAnonymizer(connection=connection) as made:
            cases = [made.anonymize([photo_file], seed=seed % 2, steps=1) for seed in range(4)]
            return await asyncio.gather(*cases)

    done = asyncio.run(run())
    assert np.array_equal(done[0][0].image, done[2][0].image)
    assert np.array_equal(done[1][0].image, done[3][0].image)
    assert not np.array_equal(done[0][0].image, done[1][0].image)


def test_server_killed_in_a_case_is_a_server_error(own_server, photo_file):
    url = f"grpc://{own_server.grpc}"
    told = threading.Event()
    with vera.Anonymizer(url=url, connection=Connection(url, retries=0)) as remote:
        job = remote.submit([photo_file], steps=LONG, progress=lambda stage, done: told.set())
        assert told.wait(20)
        own_server.kill()
        with pytest.raises(ServerError):
            job.result(20)


def test_server_that_is_not_there_is_a_server_error(photo_file):
    url = "grpc://127.0.0.1:9"
    connection = Connection(url, retries=0, connect_timeout_s=1.0)
    with vera.Anonymizer(url=url, connection=connection) as remote, pytest.raises(ServerError):
        remote.anonymize([photo_file], steps=1)
