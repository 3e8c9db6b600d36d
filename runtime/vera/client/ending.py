"""Streams read to their natural end, also after an error.

A stream that the client cancels just after its last response makes Triton 2.51 keep the request for
ever: it then takes its whole exit timeout to stop. An error is such a last response.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from contextlib import suppress
from typing import TypeVar

from vera.errors import VeraError
from vera.wire.event import Event

Answer = TypeVar("Answer")

# A server that sent an error and then neither ends the stream nor says more is given up.
_REST_S = 2.0


def events_to_the_end(
    answers: Iterable[Answer],
    event_of: Callable[[Answer], Event | None],
    give_up: Callable[[], object],
) -> Generator[Event, None, None]:
    """The events of a stream; an error among them is raised when the stream has ended.

    Args:
        answers: What the server sends.
        event_of: Reads one of them; raises the error that it may be.
        give_up: Ends the stream from another thread.

    Raises:
        VeraError: The first error.
    """
    failure: VeraError | None = None
    timer = threading.Timer(_REST_S, give_up)
    try:
        for answer in answers:
            if failure is not None:
                continue
            try:
                event = event_of(answer)
            except VeraError as error:
                failure = error
                timer.start()
                continue
            if event is not None:
                yield event
    except Exception:
        if failure is None:
            raise
    finally:
        timer.cancel()
    if failure is not None:
        raise failure


async def async_events_to_the_end(
    answers: AsyncIterable[Answer], event_of: Callable[[Answer], Event | None]
) -> AsyncGenerator[Event, None]:
    """The same for coroutines."""
    rest = aiter(answers)
    async for answer in rest:
        try:
            event = event_of(answer)
        except VeraError:
            with suppress(Exception):
                async with asyncio.timeout(_REST_S):
                    async for _ in rest:
                        pass
            raise
        if event is not None:
            yield event
