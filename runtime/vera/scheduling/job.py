"""A case that was handed in: its result to come, and the ways to end it early."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Generic, TypeVar

from vera.errors import CancelledError, DeadlineError

T = TypeVar("T")

# Longest wait before a Ctrl-C is noticed that the system handed to another thread.
_PIECE_S = 0.5


class Control:
    """What a case in work looks at again and again: whether it should still go on."""

    def __init__(self, deadline: float | None = None) -> None:
        """``deadline`` in seconds of ``time.monotonic``; None is never."""
        self.deadline = deadline
        self._cancelled = threading.Event()
        self.steps = 0

    def cancel(self) -> None:
        """Ends the case at its next check."""
        self._cancelled.set()

    def check(self) -> None:
        """Goes on, or raises.

        Raises:
            CancelledError: Somebody cancelled the case.
            DeadlineError: Its time is over.
        """
        if self._cancelled.is_set():
            raise cancelled()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise late()


@dataclass(frozen=True, slots=True)
class Times:
    """Of one case.

    Attributes:
        queue_s: Seconds it waited for a slot.
        work_s: Seconds in the slot.
        steps: Gradient evaluations of its faces.
    """

    queue_s: float
    work_s: float
    steps: int


class Job(Generic[T]):
    """A case that was handed in."""

    def __init__(self, work: Callable[[Control], T], deadline: float | None) -> None:
        """Made by :meth:`vera.scheduling.scheduler.Scheduler.submit`."""
        self.work, self.control = work, Control(deadline)
        self.future: Future[T] = Future()
        self.withdraw: Callable[[Job[T]], None] = _keep
        self.handed_in = time.monotonic()
        self.started: float | None = None
        self.ended: float | None = None
        self.told: Times | None = None  # what a server says of a case that it did

    def result(self, timeout: float | None = None) -> T:
        """What came of it, once it has.

        Args:
            timeout: Seconds to wait at most; None is for ever.

        Raises:
            CancelledError: It was cancelled.
            DeadlineError: It did not end in its time, or not within ``timeout``.
            VeraError: Whatever the case raised.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _PIECE_S if until is None else until - time.monotonic()
            if left <= 0 and not self.future.done():
                raise DeadlineError("The case is still in work; wait longer, or cancel it.")
            try:
                return self.future.result(max(0.0, min(_PIECE_S, left)))
            except NotYet:
                if self.future.done():
                    raise

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.future.done()

    def cancel(self) -> None:
        """Ends it: at once if it waits, at its next step if it is in work."""
        self.control.cancel()
        self.withdraw(self)

    def add_done_callback(self, told: Callable[["Job[T]"], None]) -> None:
        """Calls ``told`` when it has ended, in the thread that ended it."""
        self.future.add_done_callback(lambda _: told(self))

    @property
    def times(self) -> Times:
        """How long it waited and worked, so far."""
        now = time.monotonic()
        started = self.started if self.started is not None else self.ended or now
        ended = self.ended if self.ended is not None else now
        return Times(started - self.handed_in, ended - started, self.control.steps)


def cancelled() -> CancelledError:
    """The error of a cancelled case."""
    return CancelledError("The case was cancelled; nothing of it was kept.")


def late() -> DeadlineError:
    """The error of a case whose time is over."""
    return DeadlineError(
        "The case was not done in its time; allow more, take fewer steps, or try when the server "
        "has less to do."
    )


def _keep(job: object) -> None:
    """A job that is in no queue cannot be taken out of one."""
