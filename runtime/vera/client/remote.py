"""Cases done by a server: the calls of :class:`vera.Anonymizer`, with the same results."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TypeVar

from vera.case.request import CaseRequest, Progress, Result
from vera.check import Row
from vera.client.agreement import RemoteBundle, agreed, checked
from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.client.incoming import Incoming
from vera.client.outgoing import checked as checked_request
from vera.client.outgoing import outgoing
from vera.client.retrying import Patience, RetryBudget
from vera.client.transport import Transport, opened
from vera.scheduling.job import Job, Times, cancelled
from vera.wire import event as events
from vera.wire.event import Event
from vera.wire.request import WireRequest
from vera.wire.server import ServerContract

T = TypeVar("T")

# Cases of `submit` that are sent at once; the server has a queue of its own.
_AT_ONCE = 64


class RemoteCases:
    """Has cases done by a server; may be used by several threads at once.

    No more cases are sent at once than the server has room for; the others wait here.
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
        self._meeting = threading.Lock()
        self._server: ServerContract | None = None
        self._state = threading.Condition()
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
    def bundle(self) -> RemoteBundle:
        """The server's bundle; see :attr:`server`."""
        return RemoteBundle.of(self.server)

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
        with self._begun(Cancellation()) as cancel:
            return self._do(asked, progress, self._patience(deadline, cancel), cancel)

    def submit(
        self,
        asked: CaseRequest,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> Job[list[Result]]:
        """Begin a case; see :meth:`run`. ``progress`` is called in a thread of the client's."""
        cancel = Cancellation()
        patience = self._patience(deadline, cancel)
        job = Job(lambda control: self._do(asked, progress, patience, cancel, job), None)
        job.withdraw = lambda _: cancel.cancel()
        with self._state:
            if self._closed:
                raise cancelled()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="vera-client")
            self._open.add(cancel)
            self._pool.submit(self._fulfil, job, cancel)
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

    def _fulfil(self, job: Job[list[Result]], cancel: Cancellation) -> None:
        """Do a submitted case."""
        job.started = time.monotonic()
        try:
            results = job.work(job.control)
        except BaseException as error:
            job.ended = time.monotonic()
            job.future.set_exception(error)
        else:
            job.ended = time.monotonic()
            job.future.set_result(results)
        finally:
            self._ended(cancel)

    def _do(
        self,
        asked: CaseRequest,
        progress: Progress | None,
        patience: Patience,
        cancel: Cancellation,
        job: Job[list[Result]] | None = None,
    ) -> list[Result]:
        case = checked_request(asked)  # before a server is looked for
        server = self._met(patience, cancel)
        told = progress is not None
        sent = outgoing(asked, case, self._connection, server, progress=told)
        incoming = Incoming(sent)

        def attempt() -> list[Result]:
            for event in self._events(sent.request, patience, cancel):
                new = incoming.take(event)
                if progress is not None and isinstance(new, events.Progress):
                    progress(new.stage, new.fraction)
                if job is not None and isinstance(new, events.Done):
                    job.told = Times(new.queue_s, new.work_s, new.steps)
            return incoming.results()

        with self._place(server.slots + server.queue, patience, cancel):
            return self._repeated(patience, attempt)

    @contextmanager
    def _place(self, most: int, patience: Patience, cancel: Cancellation) -> Iterator[None]:
        """Wait here for what the server would refuse: more cases than it works on and keeps."""
        with cancel.breaking(self._wake), self._state:
            while self._sent >= max(most, 1):
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
        with self._meeting:
            if self._server is None:
                self._server = self._repeated(
                    patience,
                    lambda: agreed(
                        self._events(WireRequest("describe"), patience, cancel),
                        self._connection.url,
                        self._wanted,
                    ),
                )
            return self._server

    def _events(
        self, request: WireRequest, patience: Patience, cancel: Cancellation
    ) -> Generator[Event, None, None]:
        """The events of one attempt; the stream is closed at their end, however it comes."""
        left = patience.left()
        timed = replace(request, deadline_s=left)
        with closing(self._transport.exchange(timed, left, cancel)) as told:
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
