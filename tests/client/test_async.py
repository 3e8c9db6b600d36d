"""The client of coroutines gives what the other one gives."""

import asyncio
import threading
from contextlib import aclosing
from dataclasses import replace

import grpc
import numpy as np
import pytest
from triton_stand_in import ROWS, SERVER, BreakOff, Counting, StandIn, served

from vera.case.request import Result
from vera.client.asynchronous import AsyncAnonymizer
from vera.client.connection import Connection
from vera.errors import BusyError, CancelledError, DeadlineError, ServerError, UsageError
from vera.wire.event import Done, Progress


def test_results_are_those_of_the_waiting_client(stand_in, over, cases, asked, image):
    async def both():
        async with AsyncAnonymizer(over(stand_in)) as client:
            return await asyncio.gather(
                client.anonymize([image], seed=5), client.anonymize([image], seed=6)
            )

    first, second = asyncio.run(both())
    (expected,) = cases(over(stand_in)).run(asked)
    assert first[0].report == expected.report
    assert np.array_equal(first[0].image, expected.image)
    assert not np.array_equal(second[0].image, expected.image)
    assert [request.task for request in stand_in.requests].count("describe") == 2


def test_a_case_can_be_watched(stand_in, over, image):
    async def watched():
        async with AsyncAnonymizer(over(stand_in)) as client:
            return [event async for event in client.stream([image], seed=5, variants=2)]

    kinds = [type(event) for event in asyncio.run(watched())]
    assert kinds == [Progress, Progress, Result, Result, Done]


def test_a_repeated_case_tells_each_result_once(stand_in, over, image):
    tries = []

    def breaks_once(request, gone):
        tries.append(request)
        events = list(served(request, gone))
        if len(tries) == 1:
            yield from events[:-1]
            raise BreakOff
        yield from events

    stand_in.answer = breaks_once
    told = []

    async def done():
        connection = Connection(over(stand_in), backoff_s=0.01)
        async with AsyncAnonymizer(connection=connection) as client:
            await client.anonymize([image], progress=lambda stage, part: told.append(part))
            return [event async for event in client.stream([image], seed=5)]

    assert [type(event) for event in asyncio.run(done())] == [Progress, Progress, Result, Done]
    assert tries[0].seed == tries[1].seed
    assert told == [0.1, 0.5, 0.5]


def test_a_cancelled_task_closes_its_stream(stand_in, over, image):
    begun = threading.Event()

    def waits(request, gone):
        begun.set()
        for part in range(100):
            yield Progress("invert", part / 100)
            if gone.wait(0.05):
                return

    stand_in.answer = waits

    async def cancelled():
        async with AsyncAnonymizer(over(stand_in)) as client:
            task = asyncio.create_task(client.anonymize([image]))
            assert await asyncio.to_thread(begun.wait, 5)
            stand_in.ended.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(stand_in.ended.wait, 5)

    asyncio.run(cancelled())
    assert len(stand_in.cases()) == 1


def test_an_iteration_that_is_left_cancels_the_case(stand_in, over, image):
    def waits(request, gone):
        for part in range(100):
            yield Progress("invert", part / 100)
            if gone.wait(0.05):
                return

    stand_in.answer = waits

    async def left():
        async with AsyncAnonymizer(over(stand_in)) as client:
            async with aclosing(client.stream([image])) as events:
                async for _ in events:
                    stand_in.ended.clear()
                    break
            return await asyncio.to_thread(stand_in.ended.wait, 5)

    assert asyncio.run(left())


@pytest.mark.parametrize("error", [BusyError("Full; try later."), DeadlineError("Late; try.")])
def test_errors_of_the_server_come_as_they_are(stand_in, over, image, error):
    def fails(request, gone):
        raise error
        yield

    stand_in.answer = fails

    async def asks():
        connection = Connection(over(stand_in), backoff_s=0.01, retries=1)
        async with AsyncAnonymizer(connection=connection) as client:
            await client.anonymize([image])

    with pytest.raises(type(error), match=str(error)):
        asyncio.run(asks())
    assert len(stand_in.cases()) == (2 if isinstance(error, BusyError) else 1)


def test_the_deadline_ends_a_case(stand_in, over, image):
    def waits(request, gone):
        gone.wait(2)
        yield Done()

    stand_in.answer = waits

    async def asks():
        async with AsyncAnonymizer(over(stand_in)) as client:
            await client.anonymize([image], deadline=0.3)

    with pytest.raises(DeadlineError):
        asyncio.run(asks())


def test_no_more_cases_are_sent_than_the_server_has_room_for(over, image):
    counting = Counting(until=2)

    async def many(url):
        async with AsyncAnonymizer(url) as client:
            return await asyncio.gather(*(client.anonymize([image]) for _ in range(6)))

    with StandIn(counting, server=replace(SERVER, slots=1, queue=1)) as server:
        assert len(asyncio.run(many(over(server)))) == 6
    assert counting.most == 2


def test_the_server_can_be_looked_at(stand_in, over):
    async def asks():
        async with AsyncAnonymizer(over(stand_in)) as client:
            return (await client.bundle()).name, await client.check()

    assert asyncio.run(asks()) == ("fake", ROWS)


def test_nobody_at_the_address_is_a_server_error(image):
    async def asks(scheme):
        connection = Connection(f"{scheme}://127.0.0.1:1", retries=0)
        async with AsyncAnonymizer(connection=connection) as client:
            await client.anonymize([image])

    for scheme in ("grpc", "http"):
        with pytest.raises(ServerError, match="cannot be reached"):
            asyncio.run(asks(scheme))


def test_a_closed_client_takes_no_more_cases(stand_in, image):
    async def asks():
        client = AsyncAnonymizer(stand_in.grpc_url)
        await client.close()
        await client.anonymize([image])

    with pytest.raises(CancelledError):
        asyncio.run(asks())


def test_closing_ends_what_runs_as_cancelled(stand_in, over, image):
    begun = threading.Event()

    def waits(request, gone):
        begun.set()
        for part in range(100):
            yield Progress("invert", part / 100)
            if gone.wait(0.05):
                return

    stand_in.answer = waits

    async def asks():
        client = AsyncAnonymizer(over(stand_in))
        task = asyncio.create_task(client.anonymize([image]))
        assert await asyncio.to_thread(begun.wait, 5)
        await client.close()
        await task

    with pytest.raises(CancelledError):
        asyncio.run(asks())


def test_a_setting_that_does_not_exist_is_told(stand_in, image):
    async def asks():
        async with AsyncAnonymizer(stand_in.grpc_url) as client:
            await client.anonymize([image], step=3)

    with pytest.raises(UsageError, match="no setting 'step'"):
        asyncio.run(asks())


def test_a_call_that_somebody_else_cancelled_is_lost_and_repeated(stand_in, image):
    def once(request, gone):
        if len(stand_in.cases()) == 1:
            raise BreakOff(grpc.StatusCode.CANCELLED)
        yield from served(request, gone)

    stand_in.answer = once

    async def asks():
        connection = Connection(stand_in.grpc_url, backoff_s=0.01)
        async with AsyncAnonymizer(connection=connection) as client:
            return await client.anonymize([image])

    assert len(asyncio.run(asks())) == 1
    assert len(stand_in.cases()) == 2


def test_a_client_needs_one_address():
    with pytest.raises(UsageError, match="either a url or a connection"):
        AsyncAnonymizer()
    with pytest.raises(UsageError, match="either a url or a connection"):
        AsyncAnonymizer("grpcs://a", connection=Connection("grpcs://a"))
