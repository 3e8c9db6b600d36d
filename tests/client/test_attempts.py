"""Several attempts at one case are never mixed, and a case leaves nothing behind."""

import asyncio
import gc
import json
import re
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from triton_stand_in import SERVER, BreakOff, served

from vera.case.request import CaseRequest, Result
from vera.client import incoming
from vera.client.asynchronous import AsyncAnonymizer
from vera.client.connection import Connection
from vera.client.remote import RemoteCases
from vera.errors import ServerError, UsageError
from vera.wire.event import Done, Progress, ResultEvent


def shaded(events, shade: int):
    """The same case with another new person, as a server with other libraries could give."""
    for event in events:
        if isinstance(event, ResultEvent):
            person = event.person + np.float32(shade)
            image = np.frombuffer(event.image, np.uint8) ^ np.uint8(shade)
            event = replace(event, image=image.tobytes(), person=person)
        yield event


@pytest.fixture
def half_first(stand_in):
    """The first attempt breaks off behind its first result, and the second has other people."""

    def answer(request, gone):
        first = len(stand_in.cases()) == 1
        for event in shaded(served(request, gone), 1 if first else 2):
            yield event
            if first and isinstance(event, ResultEvent):
                raise BreakOff

    stand_in.answer = answer
    return stand_in


def the_second(results, stand_in) -> bool:
    expected = [event for event in shaded(served(stand_in.cases()[1], None), 2)]
    expected = [event for event in expected if isinstance(event, ResultEvent)]
    return [result.image.tobytes() for result in results] == [e.image for e in expected] and all(
        np.array_equal(result.person, event.person)
        for result, event in zip(results, expected, strict=True)
    )


def test_a_pair_comes_out_of_one_attempt(half_first, over, cases, image):
    pair = CaseRequest([image, image[::-1].copy()], seed=5)
    results = cases(over(half_first)).run(pair)
    assert len(half_first.cases()) == 2
    assert the_second(results, half_first)


def test_a_watched_pair_comes_out_of_one_attempt_and_at_its_end(half_first, over, image):
    async def watched():
        connection = Connection(over(half_first), backoff_s=0.01)
        async with AsyncAnonymizer(connection=connection) as client:
            return [event async for event in client.stream([image, image[::-1].copy()], seed=5)]

    events = asyncio.run(watched())
    kinds = [type(event) for event in events if not isinstance(event, Progress)]
    assert kinds == [Result, Result, Done]
    assert the_second([event for event in events if isinstance(event, Result)], half_first)


def test_a_watched_case_that_breaks_off_gives_no_result(stand_in, over, image):
    def breaks(request, gone):
        yield from list(served(request, gone))[:-1]
        raise BreakOff

    stand_in.answer = breaks
    told = []

    async def watched():
        connection = Connection(over(stand_in), retries=0)
        async with AsyncAnonymizer(connection=connection) as client:
            async for event in client.stream([image], seed=5):
                told.append(event)

    with pytest.raises(ServerError):
        asyncio.run(watched())
    assert {type(event) for event in told} == {Progress}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda events: [*events[:-1], events[-2], events[-1]], "the same result twice"),
        (lambda events: [*events, events[-1]], "more after its end"),
        (lambda events: [Progress("find", 2.0), *events], "progress that is none"),
        (lambda events: [Progress("find", float("nan")), *events], None),
        (lambda events: [*events[:-1], Done(0.0, -1e400, 3)], None),
    ],
    ids=["twice", "after the end", "beyond", "NaN", "endless"],
)
def test_a_stream_that_is_no_case_s_is_not_used_and_not_repeated(
    stand_in, cases, asked, monkeypatch, spoil, why
):
    if why is None:  # our own side would not write such JSON
        dumps = json.dumps
        monkeypatch.setattr("vera.wire.event.json.dumps", lambda told, **_: dumps(told))
        why = "does not fit"
    stand_in.answer = lambda request, gone: iter(spoil(list(served(request, gone))))
    with pytest.raises(ServerError, match=why):
        cases(stand_in.grpc_url).run(asked)
    assert len(stand_in.cases()) == 1


def test_an_answer_of_an_updated_server_is_not_taken_but_the_next_one_is(
    stand_in, over, cases, asked
):
    client = cases(over(stand_in))
    client.run(asked)
    stand_in.server = replace(SERVER, vera="1")

    def updated(request, gone):
        for event in served(request, gone):
            if isinstance(event, ResultEvent):
                event = replace(event, report=replace(event.report, versions={"vera": "1"}))
            yield event

    stand_in.answer = updated
    with pytest.raises(ServerError, match="another version of vera"):
        client.run(asked)
    assert client.run(asked)[0].report.versions == {"vera": "1"}


@pytest.fixture
def updated(stand_in):
    """A server with another bundle since it described itself; it takes no case for the first."""
    new = replace(SERVER, bundle=replace(SERVER.bundle, digest="cd" * 32))

    def answer(request, gone):
        if request.bundle != new.bundle.digest:
            stand_in.server = new
            raise UsageError("The server has another bundle; ask for this one.")
        yield from served(request, gone)

    stand_in.answer = answer
    return stand_in


def bundles(server) -> list[str]:
    return [request.bundle[:2] for request in server.cases()]


def test_a_server_with_a_new_bundle_is_asked_what_it_is_and_once_more(updated, over, cases, asked):
    client = cases(over(updated))
    assert len(client.run(asked)) == 1
    assert len(client.run(asked)) == 1
    assert bundles(updated) == ["ab", "cd", "cd"]


def test_so_does_the_client_of_coroutines(updated, over, image):
    async def asks():
        async with AsyncAnonymizer(over(updated)) as client:
            return [await client.anonymize([image]) for _ in range(2)]

    assert len(asyncio.run(asks())) == 2
    assert bundles(updated) == ["ab", "cd", "cd"]


def test_a_bundle_that_was_named_is_not_given_up(updated, asked):
    client = RemoteCases(Connection(updated.grpc_url), SERVER.bundle.digest)
    with pytest.raises(ServerError, match="bundle cdcdcdcdcdcd, not abababababab"):
        client.run(asked)
    assert bundles(updated) == ["ab"]
    client.close()


def test_stages_are_those_of_the_pipeline_and_no_other_is_shown(stand_in, cases, asked):
    source = Path(incoming.__file__).parents[1] / "case/pipeline.py"
    assert set(re.findall(r'progress\("(\w+)"', source.read_text("utf-8"))) == set(incoming.STAGES)
    stand_in.answer = lambda request, gone: iter(
        [Progress("\x1b[2Jjane", 0.1), *served(request, gone)]
    )
    told = []
    cases(stand_in.grpc_url).run(asked, lambda stage, done: told.append(stage))
    assert told == ["work", "find", "invert"]


@pytest.fixture
def by_count_alone():
    """Without the garbage collection that would find what was forgotten."""
    gc.disable()
    yield
    gc.enable()


def gone(held: weakref.ref) -> bool:
    for _ in range(200):
        if held() is None:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("ends", ["well", "badly", "lost"])
def test_a_job_that_is_held_holds_no_photograph(stand_in, over, cases, image, by_count_alone, ends):
    def answer(request, gone):
        if ends == "lost":
            raise BreakOff
        yield from [] if ends == "badly" else served(request, gone)
        yield Progress("done", 1.0) if ends == "badly" else Progress("late", 2.0)

    stand_in.answer = served if ends == "well" else answer
    client = cases(over(stand_in), retries=1)
    photo = image.copy()
    held = weakref.ref(photo)
    job = client.submit(CaseRequest([photo], seed=5))
    del photo
    if ends == "well":
        assert len(job.result(5)) == 1
    else:
        with pytest.raises(ServerError) as raised:
            job.result(5)
        link = raised.value
        while link is not None:
            if hasattr(link, "_request"):  # of httpx: what was sent is in it
                assert link.request.content == b""
            link = link.__cause__
    assert gone(held)


def test_an_error_that_is_held_holds_no_photograph(stand_in, over, cases, image, by_count_alone):
    stand_in.answer = lambda request, gone: iter([Done()])
    photo = image.copy()
    held = weakref.ref(photo)
    errors = []

    def asks(photos):
        try:
            cases(over(stand_in)).run(CaseRequest(photos, seed=5))
        except ServerError as error:
            errors.append(error.with_traceback(None))

    asks([photo])
    del photo
    assert gone(held)
    assert errors
