"""Cases done by a server: the calls of :class:`vera.Anonymizer`, with the same results."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from vera.case.case import Case
from vera.case.request import CaseRequest, Progress, Result
from vera.check import Row
from vera.client.agreement import agreed, at_once, checked, longest
from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.client.failures import MisfitError, may_be_outdated
from vera.client.forgetting import forgetting
from vera.client.incoming import Incoming
from vera.client.outgoing import checked as checked_request
from vera.client.outgoing import outgoing
from vera.client.retrying import Patience, RetryBudget
from vera.client.transport import Transport, opened
from vera.errors import VeraError
from vera.scheduling.job import Control, Job, Times, cancelled
from vera.wire.event import Event
from vera.wire.request import WireRequest
from vera.wire.server import ServedBundle, ServerContract

T = TypeVar("T")

# The results of a case, and the times that the server told.
_Answer = tuple[list[Result], Times | None]

# Threads that do the cases of `submit`.
_THREADS = 64


class RemoteCases:
    """Has cases done by a server; may be used by several threads at once.

    A server is sent a few cases for each of its slots at once; the others wait here, unread.
    """

    def __init__(
        self,
        connection: Connection,
        bundle: str | None = None,
        *,
        open_transport: Callable[[Connection], Transport] = opened,
    ) -> None:
        """Nothing is sent before the first case.

        Args:
            connection: The server.
            bundle: Digest of the only bundle that will do; None takes the server's.
            open_transport: Carries the requests.
        """
        self._connection, self._wanted = connection, bundle
        self._transport = open_transport(connection)
        self._budget = RetryBudget(connection.retry_budget)
        self._state = threading.Condition()
        self._server: ServerContract | None = None
        self._meeting = False  # a case asks the server what it is
        self._open: set[Cancellation] = set()  # of every case that waits or works
        self._sent = 0  # cases that the server has now
        self._closed = False
        self._pool: ThreadPoolExecutor | None = None

    @property
    def server(self) -> ServerContract:
        """What the server says of itself; asked once.

        Raises:
            VeraError: It cannot be reached, or is of another contract.
        """
        with self._begun(Cancellation()) as cancel:
            return self._met(self._patience(None, cancel), cancel)

    @property
    def bundle(self) -> ServedBundle:
        """The server's bundle; see :attr:`server`."""
        return self.server.bundle

    def check(self) -> tuple[Row, ...]:
        """Have the server check itself in depth.

        Raises:
            VeraError: It cannot be asked.
        """
        with self._begun(Cancellation()) as cancel:
            patience = self._patience(None, cancel)
            self._met(patience, cancel)
            return self._repeated(
                patience, lambda: checked(self._events(WireRequest("check"), patience, cancel))
            )

    def run(
        self,
        asked: CaseRequest,
        progress: Progress | None = None,
        *,
        deadline: float | None = None,
    ) -> list[Result]:
        """Have a case done; waits for it.

        Args:
            asked: The case.
            progress: Called with the stage and the done fraction in [0, 1], never decreasing.
            deadline: Seconds from now, retries included; None takes the connection's.

        Returns:
            As :meth:`vera.Anonymizer.anonymize`.

        Raises:
            UsageError: The request makes no sense, or is beyond the server's limits.
            BusyError: The server took no further case, also after all retries.
            DeadlineError: The time is over.
            CancelledError: The client was closed.
            ServerError: The server cannot be reached, broke off, or is of another contract.
            EngineError: An engine failed.
        """
        with forgetting(), self._begun(Cancellation()) as cancel:
            results, _ = self._do(asked, progress, self._patience(deadline, cancel), cancel)
            return results

    def submit(
        self,
        asked: CaseRequest,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> Job[list[Result]]:
        """Begin a case; see :meth:`run`. ``progress`` is called in a thread of the client's."""
        cancel = Cancellation()
        patience = self._patience(deadline, cancel)
        # The job is its user's for as long as they like; the photographs are not in it.
        job: Job[list[Result]] = Job(_done_elsewhere, None)
        job.withdraw = lambda _: cancel.cancel()
        with self._state:
            if self._closed:
                raise cancelled()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="vera-client")
            self._open.add(cancel)
            work: list[Callable[[], _Answer]] = []
            work.append(partial(self._do, asked, progress, patience, cancel))
            self._pool.submit(self._fulfil, job, work, cancel)
        return job

    def close(self, *, drain: bool = False) -> None:
        """Take no further cases and close the connection; can be called twice.

        Args:
            drain: Whether what is in work is done to its end, or cancelled.
        """
        with self._state:
            self._closed = True
            running, pool = list(self._open), self._pool
        if drain:
            with self._state:
                self._state.wait_for(lambda: not self._open)
        else:
            for cancel in running:
                cancel.cancel()
        if pool is not None:
            pool.shutdown()
        self._transport.close()

    def _patience(self, deadline: float | None, cancel: Cancellation) -> Patience:
        return Patience(self._connection, self._budget, deadline, cancel)

    @contextmanager
    def _begun(self, cancel: Cancellation) -> Iterator[Cancellation]:
        """While this lasts, closing the client waits for the case or cancels it."""
        with self._state:
            if self._closed:
                raise cancelled()
            self._open.add(cancel)
        try:
            yield cancel
        finally:
            self._ended(cancel)

    def _ended(self, cancel: Cancellation) -> None:
        with self._state:
            self._open.discard(cancel)
            self._state.notify_all()

    def _fulfil(
        self, job: Job[list[Result]], work: list[Callable[[], _Answer]], cancel: Cancellation
    ) -> None:
        """Do a submitted case, which is taken out of ``work``: the pool's own frame has that."""
        job.started = time.monotonic()
        try:
            with forgetting():
                results, job.told = work.pop()()
        except BaseException as error:
            job.ended = time.monotonic()
            job.future.set_exception(error)
        else:
            job.ended = time.monotonic()
            job.future.set_result(results)
        finally:
            self._ended(cancel)
            del job  # this frame is in the error, and the error in the job

    def _do(
        self,
        asked: CaseRequest,
        progress: Progress | None,
        patience: Patience,
        cancel: Cancellation,
    ) -> _Answer:
        case = checked_request(asked)  # before a server is looked for
        server = self._met(patience, cancel)
        with self._place(at_once(server), patience, cancel):
            try:
                return self._asked_of(server, asked, case, progress, patience, cancel)
            except VeraError as error:
                server = self._another(error, server, patience, cancel)
            return self._asked_of(server, asked, case, progress, patience, cancel)

    def _asked_of(
        self,
        server: ServerContract,
        asked: CaseRequest,
        case: Case,
        progress: Progress | None,
        patience: Patience,
        cancel: Cancellation,
    ) -> _Answer:
        sent = outgoing(asked, case, self._connection, server, progress=progress is not None)
        incoming = Incoming(sent, server)
        # No closure: an error's frames keep their functions, and these what they enclose.
        attempt = partial(self._attempt, sent.request, incoming, progress, patience, cancel)
        try:
            return self._repeated(patience, attempt)
        except MisfitError:
            self._forget(server)
            raise

    def _another(
        self, error: VeraError, before: ServerContract, patience: Patience, cancel: Cancellation
    ) -> ServerContract:
        """The server that is there by now, if it has another bundle; else raises the error."""
        if not may_be_outdated(error):
            raise error
        self._forget(before)
        now = self._met(patience, cancel)
        if now.bundle.digest == before.bundle.digest:
            raise error
        return now

    def _forget(self, server: ServerContract) -> None:
        """It may be another one by now: the next case asks."""
        with self._state:
            if self._server is server:
                self._server = None

    def _attempt(
        self,
        request: WireRequest,
        incoming: Incoming,
        progress: Progress | None,
        patience: Patience,
        cancel: Cancellation,
    ) -> _Answer:
        incoming.begin()
        for event in self._events(request, patience, cancel):
            further = incoming.take(event)
            if progress is not None and further is not None:
                progress(further.stage, further.fraction)
        results, done = incoming.results(), incoming.done
        return results, None if done is None else Times(done.queue_s, done.work_s, done.steps)

    @contextmanager
    def _place(self, most: int, patience: Patience, cancel: Cancellation) -> Iterator[None]:
        """Wait here while the server has as many cases as it is to be sent at once."""
        with cancel.breaking(self._wake), self._state:
            while self._sent >= most:
                self._state.wait(patience.left())
            self._sent += 1
        try:
            yield
        finally:
            with self._state:
                self._sent -= 1
                self._state.notify_all()

    def _wake(self) -> None:
        with self._state:
            self._state.notify_all()

    def _met(self, patience: Patience, cancel: Cancellation) -> ServerContract:
        with cancel.breaking(self._wake), self._state:
            while self._server is None and self._meeting:
                self._state.wait(patience.left())
            if self._server is not None:
                return self._server
            self._meeting = True
        try:
            server = self._repeated(
                patience,
                lambda: agreed(
                    self._events(WireRequest("describe"), patience, cancel),
                    self._connection.url,
                    self._wanted,
                ),
            )
            with self._state:
                self._server = server
            return server
        finally:
            with self._state:
                self._meeting = False
                self._state.notify_all()

    def _events(
        self, request: WireRequest, patience: Patience, cancel: Cancellation
    ) -> Generator[Event, None, None]:
        """The events of one attempt; the stream is closed at their end, however it comes."""
        left = patience.left()
        timed = replace(request, deadline_s=left)
        with closing(self._transport.exchange(timed, longest(left, self._server), cancel)) as told:
            for event in told:
                patience.left()
                yield event

    def _repeated(self, patience: Patience, attempt: Callable[[], T]) -> T:
        for tried in patience.attempts():
            with tried:
                value = attempt()
                patience.succeeded(tried.retry_state.attempt_number)
                return value
        raise AssertionError("tenacity ends by a result or an error")


def _done_elsewhere(control: Control) -> list[Result]:
    """The work of a job that no scheduler is to do."""
    raise AssertionError("a server does it")
