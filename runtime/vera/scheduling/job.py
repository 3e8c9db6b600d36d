"""A case that was handed in: its result to come, and the ways to end it early."""

import threading
import time
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vera.errors import BusyError, CancelledError, DeadlineError

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
        try:
            while True:
                left = _PIECE_S if until is None else until - time.monotonic()
                if left <= 0 and not self.future.done():
                    raise DeadlineError("The case is still in work; wait longer, or cancel it.")
                try:
                    return self.future.result(max(0.0, min(_PIECE_S, left)))
                except NotYet:
                    if self.future.done():
                        raise
        finally:
            del self  # an error holds this frame; the frame must not hold the error's own job

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.future.done()

    def cancel(self) -> None:
        """Ends it: at once if it waits, at its next step if it is in work."""
        self.control.cancel()
        self.withdraw(self)

    def add_done_callback(self, told: Callable[["Job[T]"], None]) -> None:
        """Calls ``told`` when it has ended, in the thread that ended it."""
        # Who ends a job has it. Held by its own future it would stay, with its result, until the
        # next garbage collection.
        held = weakref.ref(self)

        def tell(_: "Future[T]") -> None:
            job = held()
            if job is not None:
                told(job)

        self.future.add_done_callback(tell)

    def let_go(self) -> None:
        """Forgets the work and the photographs in it: the job may outlive its case by far."""
        self.work = _over

    @property
    def times(self) -> Times:
        """How long it waited and worked, so far; of a server's case what the server told."""
        if self.told is not None:
            return self.told
        now = time.monotonic()
        started = self.started if self.started is not None else self.ended or now
        ended = self.ended if self.ended is not None else now
        return Times(started - self.handed_in, ended - started, self.control.steps)


def cancelled() -> CancelledError:
    """The error of a cancelled case."""
    return CancelledError("The case was cancelled; nothing of it was kept.")


def closing() -> BusyError:
    """The error of a case that comes after the last one."""
    return BusyError("No new cases are taken: VerA is shutting down; try again later.")


def late() -> DeadlineError:
    """The error of a case whose time is over."""
    return DeadlineError(
        "The case was not done in its time; allow more, take fewer steps, or try when the server "
        "has less to do."
    )


def forget_frames(error: BaseException) -> None:
    """Empties the functions that an error came through: their variables hold photographs.

    Where it came from can still be told.
    """
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.append(one)
            traceback.clear_frames(one.__traceback__)
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]


def _over(control: Control) -> Any:
    """What is left of the work of a job that has ended."""
    raise RuntimeError("a job was done twice")


def _keep(job: object) -> None:
    """A job that is in no queue cannot be taken out of one."""
