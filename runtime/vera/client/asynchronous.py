"""``vera.AsyncAnonymizer``: cases done by a server, awaited by coroutines."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vera.case.case import KeepLike, PhotoLike
from vera.case.request import CaseRequest, Result
from vera.check import Row
from vera.client.agreement import agreed, at_once, checked, longest
from vera.client.connection import Connection
from vera.client.failures import LostError, MisfitError, may_be_outdated
from vera.client.forgetting import forgetting
from vera.client.incoming import Incoming
from vera.client.outgoing import Outgoing, outgoing
from vera.client.outgoing import checked as checked_request
from vera.client.retrying import Patience, RetryBudget
from vera.client.transport import AsyncTransport, async_opened
from vera.errors import UsageError, VeraError
from vera.key import CaseKey
from vera.scheduling.job import cancelled, late
from vera.settings import settings_of
from vera.wire.event import Done, Event, Progress
from vera.wire.request import WireRequest
from vera.wire.server import ServedBundle, ServerContract

ProgressCall = Callable[[str, float], None]


class AsyncAnonymizer:
    """Replaces the faces of clinical photographs by synthetic ones, on a server.

    For the coroutines of one event loop, any number at once. A cancelled task cancels its case.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        connection: Connection | None = None,
        open_transport: Callable[[Connection], AsyncTransport] = async_opened,
    ) -> None:
        """Nothing is sent before the first case.

        Args:
            url: The server: ``grpc://host:8001``, ``http://host:8000``, or with TLS.
            connection: The same with everything else that can be said, in the place of ``url``.
            open_transport: Carries the requests.

        Raises:
            UsageError: Neither or both are given, or the address is none.
        """
        if (url is None) == (connection is None):
            raise UsageError("A client needs either a url or a connection; give one of them.")
        self._connection = connection or Connection(url or "")
        self._open_transport = open_transport
        self._transport: AsyncTransport | None = None
        self._budget = RetryBudget(self._connection.retry_budget)
        self._meeting = asyncio.Lock()
        self._server: ServerContract | None = None
        self._room = 1  # cases that are sent at once, once the server is known
        self._places = asyncio.Semaphore(self._room)
        self._closed = False

    async def anonymize(
        self,
        photos: Sequence[PhotoLike],
        *,
        keep: KeepLike | Sequence[KeepLike] = "none",
        seed: int | None = None,
        key: CaseKey | None = None,
        distinct_from: npt.NDArray[np.float32] | None = None,
        progress: ProgressCall | None = None,
        deadline: float | None = None,
        **settings: Any,
    ) -> list[Result]:
        """Anonymises one case; see :meth:`vera.Anonymizer.anonymize`, with the same results.

        Args:
            photos: As there.
            keep: As there.
            seed: As there.
            key: As there; the server gets what is derived from it, never the secret.
            distinct_from: As there.
            progress: As there.
            deadline: Seconds from now, retries included; None takes the connection's.
            settings: Those of :class:`vera.settings.Settings`.

        Raises:
            VeraError: As :meth:`vera.client.remote.RemoteCases.run`.
        """
        asked = _asked(photos, keep, seed, key, distinct_from, settings)
        results: list[Result] = []
        async with aclosing(self._stream(asked, deadline, progress is not None)) as told:
            async for event in told:
                if isinstance(event, Result):
                    results.append(event)
                elif progress is not None and isinstance(event, Progress):
                    progress(event.stage, event.fraction)
        return results

    def stream(
        self,
        photos: Sequence[PhotoLike],
        *,
        keep: KeepLike | Sequence[KeepLike] = "none",
        seed: int | None = None,
        key: CaseKey | None = None,
        distinct_from: npt.NDArray[np.float32] | None = None,
        deadline: float | None = None,
        **settings: Any,
    ) -> AsyncGenerator[Progress | Result | Done, None]:
        """Tells about a case as it is done: progress, each result once, and the end.

        Results come at the end, when all of them are there: what has come may be used. Leave the
        iteration early within ``contextlib.aclosing``, which cancels the case.

        Args:
            photos: See :meth:`anonymize`, for this and all others.
            keep: What stays as photographed.
            seed: Of all draws.
            key: In the seed's place.
            distinct_from: People who must not come out.
            deadline: Seconds from now.
            settings: Those of :class:`vera.settings.Settings`.

        Raises:
            VeraError: As :meth:`vera.client.remote.RemoteCases.run`.
        """
        asked = _asked(photos, keep, seed, key, distinct_from, settings)
        return self._stream(asked, deadline, True)

    async def bundle(self) -> ServedBundle:
        """The server's bundle.

        Raises:
            ServerError: It cannot be reached, or is of another contract.
        """
        return (await self._met(self._patience(None))).bundle

    async def check(self) -> tuple[Row, ...]:
        """Have the server check itself in depth.

        Raises:
            VeraError: It cannot be asked.
        """
        patience = self._patience(None)
        await self._met(patience)
        return checked(await self._told(WireRequest("check"), patience))

    async def close(self) -> None:
        """Break off what runs and close the connection; can be called twice."""
        self._closed = True
        if self._transport is not None:
            await self._transport.close()

    async def __aenter__(self) -> Self:
        """Nothing to do: the connection is opened by the first case."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it."""
        await self.close()

    def _patience(self, deadline: float | None) -> Patience:
        return Patience(self._connection, self._budget, deadline)

    async def _stream(
        self, asked: CaseRequest, deadline: float | None, progress: bool
    ) -> AsyncGenerator[Progress | Result | Done, None]:
        """Tells progress as it comes, and the rest at the end."""
        case = checked_request(asked)  # before a server is looked for
        patience = self._patience(deadline)
        with forgetting():
            server = await self._met(patience)
            async with self._taken(self._places, patience):
                for again in (True, False):
                    try:
                        # Files are read and encoded beside the loop.
                        sent = await asyncio.to_thread(
                            outgoing, asked, case, self._connection, server, progress=progress
                        )
                        incoming = Incoming(sent, server)
                        async with aclosing(self._tried(sent, incoming, patience)) as told:
                            async for further in told:
                                yield further
                        break
                    except VeraError as error:
                        if not again:
                            raise
                        server = await self._another(error, server, patience)
        for result in incoming.results():
            yield result
        if incoming.done is not None:
            yield incoming.done

    async def _tried(
        self, sent: Outgoing, incoming: Incoming, patience: Patience
    ) -> AsyncGenerator[Progress, None]:
        """Progress of as many attempts as it takes until all results are there."""
        try:
            async for tried in patience.async_attempts():
                with tried:
                    incoming.begin()
                    async with aclosing(self._events(sent.request, patience)) as events:
                        async for event in events:
                            further = await asyncio.to_thread(incoming.take, event)
                            if further is not None:
                                yield further
                    incoming.results()  # raises if some are missing
                    patience.succeeded(tried.retry_state.attempt_number)
        except MisfitError:
            self._server = None  # it may be another one by now: the next case asks
            raise

    async def _another(
        self, error: VeraError, before: ServerContract, patience: Patience
    ) -> ServerContract:
        """The server that is there by now, if it has another bundle; else raises the error."""
        if not may_be_outdated(error):
            raise error
        if self._server is before:
            self._server = None
        now = await self._met(patience)
        if now.bundle.digest == before.bundle.digest:
            raise error
        return now

    @asynccontextmanager
    async def _taken(
        self, places: asyncio.Semaphore | asyncio.Lock, patience: Patience
    ) -> AsyncGenerator[None, None]:
        """While this lasts, one of the places is taken; it is waited for in the case's time."""
        try:
            async with asyncio.timeout(patience.left()):
                await places.acquire()
        except TimeoutError as error:
            raise late() from error
        try:
            yield
        finally:
            places.release()

    async def _events(
        self, request: WireRequest, patience: Patience
    ) -> AsyncGenerator[Event, None]:
        left = patience.left()
        if self._closed:
            raise cancelled()
        if self._transport is None:  # here: it belongs to the running loop
            self._transport = self._open_transport(self._connection)
        timed = replace(request, deadline_s=left)
        try:
            async with aclosing(
                self._transport.exchange(timed, longest(left, self._server))
            ) as events:
                async for event in events:
                    patience.left()
                    yield event
        except (asyncio.CancelledError, LostError):
            # What a closed connection looks like; unless it is the task that was cancelled.
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise cancelled() from None
            raise

    async def _told(self, request: WireRequest, patience: Patience) -> list[Event]:
        """All events of a request that is no case."""
        async for tried in patience.async_attempts():
            with tried:
                async with aclosing(self._events(request, patience)) as events:
                    return [event async for event in events]
        raise AssertionError("tenacity ends by a result or an error")

    async def _met(self, patience: Patience) -> ServerContract:
        async with self._taken(self._meeting, patience):
            if self._server is None:
                told = await self._told(WireRequest("describe"), patience)
                self._server = agreed(told, self._connection.url)
                if self._room != at_once(self._server):
                    self._room = at_once(self._server)
                    self._places = asyncio.Semaphore(self._room)
            return self._server


def _asked(
    photos: Sequence[PhotoLike],
    keep: KeepLike | Sequence[KeepLike],
    seed: int | None,
    key: CaseKey | None,
    distinct_from: npt.NDArray[np.float32] | None,
    settings: dict[str, Any],
) -> CaseRequest:
    return CaseRequest(photos, keep, seed, key, distinct_from, settings_of(settings))
