"""Which cases are in work: a fixed number of slots, a bounded queue in front of them.

A case keeps its slot from the first photograph to the last check. What does not fit in the queue
is refused at once, so that nobody waits without knowing; what waits too long leaves it by itself.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vera.errors import BusyError, UsageError
from vera.scheduling.job import Control, Job, cancelled, closing, forget_frames, late

T = TypeVar("T")
_MOST_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Stats:
    """A scheduler at one moment.

    Attributes:
        active: Cases in work.
        queued: Cases waiting.
        slots: Cases that can be in work.
        queue: Cases that can wait.
    """

    active: int
    queued: int
    slots: int
    queue: int


class Scheduler:
    """Slots and a queue. Threads are started when they are needed; use as a context manager."""

    def __init__(self, slots: int, queue: int) -> None:
        """Nothing runs yet.

        Args:
            slots: Cases in work at once.
            queue: Cases that may wait for a slot.

        Raises:
            UsageError: A number makes no sense.
        """
        if not 1 <= slots <= _MOST_SLOTS:
            raise UsageError(
                f"workers must be from 1 to {_MOST_SLOTS}, got {slots}; as many as there are cores "
                "is enough."
            )
        if queue < 0:
            raise UsageError(f"queue must be 0 or more, got {queue}; 0 lets no case wait.")
        self._slots, self._queue = slots, queue
        self._waiting: deque[Job[Any]] = deque()
        self._own: set[Job[Any]] = set()  # those that wait in the threads of their callers
        self._active: set[Job[Any]] = set()
        self._threads: list[threading.Thread] = []
        self._clock: threading.Thread | None = None
        self._closing = False
        self._changed = threading.Condition()

    def __enter__(self) -> "Scheduler":
        """Nothing to do: threads start with the first case."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what is in work."""
        self.close(drain=False)

    @property
    def shared(self) -> bool:
        """Whether more than one case is in work now."""
        return len(self._active) > 1

    def stats(self) -> Stats:
        """The numbers of now."""
        return Stats(len(self._active), len(self._waiting), self._slots, self._queue)

    def submit(self, work: Callable[[Control], T], *, deadline: float | None = None) -> Job[T]:
        """Hands a case in.

        Args:
            work: Does it; looks at its :class:`Control` often.
            deadline: Seconds from now until it must have ended.

        Raises:
            BusyError: The queue is full, or the scheduler is closing.
        """
        job = Job(work, None if deadline is None else time.monotonic() + deadline)
        job.withdraw = self._withdraw
        with self._changed:
            if self._closing:
                raise closing()
            if len(self._active) + len(self._waiting) >= self._slots + self._queue:
                raise BusyError(
                    f"The queue is full (slots: {self._slots}, places to wait: {self._queue}); "
                    "try again later."
                )
            self._waiting.append(job)
            if len(self._threads) < min(self._slots, len(self._active) + len(self._waiting)):
                self._start(self._serve)
            if deadline is not None and self._clock is None:
                self._clock = self._start(self._watch)
            self._changed.notify_all()
        return job

    def run(self, work: Callable[[Control], T]) -> T:
        """Does a case in the caller's thread as soon as a slot is free, however long that takes.

        Raises:
            BusyError: The scheduler is closing.
            VeraError: Whatever the case raises.
        """
        job = Job(work, None)
        job.withdraw = self._withdraw
        with self._changed:
            if self._closing:
                raise closing()
            self._waiting.append(job)
            self._own.add(job)
            try:
                self._changed.wait_for(lambda: job not in self._waiting or self._is_next(job))
                if job not in self._waiting:
                    raise cancelled()
                self._begin(job)
            finally:
                self._own.discard(job)
                if job in self._waiting:
                    self._waiting.remove(job)
                self._changed.notify_all()
        try:
            return work(job.control)
        finally:
            self._end(job)

    def close(self, *, drain: bool = True) -> None:
        """Takes no further cases and waits until none is in work.

        Args:
            drain: Whether those that wait and work are done to their end, or cancelled.
        """
        with self._changed:
            self._closing = True
            if not drain:
                for job in self._active:
                    job.control.cancel()
            left = [] if drain else list(self._waiting)
            self._changed.notify_all()
        for job in left:
            job.cancel()
        for thread in (*self._threads, *filter(None, [self._clock])):
            if thread is not threading.current_thread():
                thread.join()
        with self._changed:  # cases in threads of their callers
            self._changed.wait_for(lambda: not self._active)

    def _start(self, loop: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=loop, name=f"vera{loop.__name__}", daemon=True)
        if loop == self._serve:
            self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self) -> None:
        """One slot: takes cases in order, until the scheduler closes and none is left."""
        while True:
            with self._changed:
                self._changed.wait_for(self._ready)
                if not self._waiting:
                    return
                job = self._waiting[0]
                self._begin(job)
            self._carry_out(job)
            del job  # its photographs must not stay while the slot waits for the next case

    def _ready(self) -> bool:
        if not self._waiting:
            return self._closing
        return self._waiting[0] not in self._own and self._is_next(self._waiting[0])

    def _is_next(self, job: Job[Any]) -> bool:
        return self._waiting[0] is job and len(self._active) < self._slots

    def _carry_out(self, job: Job[Any]) -> None:
        try:
            job.control.check()
            value = job.work(job.control)
        except BaseException as error:
            forget_frames(error)
            job.let_go()
            self._end(job)
            job.future.set_exception(error)
        else:
            job.let_go()
            self._end(job)
            job.future.set_result(value)
        finally:
            del job  # an error holds this frame; the frame must not hold the error's own job

    def _begin(self, job: Job[Any]) -> None:
        self._waiting.popleft()
        job.started = time.monotonic()
        self._active.add(job)

    def _end(self, job: Job[Any]) -> None:
        with self._changed:
            job.ended = time.monotonic()
            self._active.discard(job)
            self._changed.notify_all()

    def _withdraw(self, job: Job[Any], error: Exception | None = None) -> None:
        """Takes a case out of the queue, if it is there."""
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
            job.ended = time.monotonic()
            self._changed.notify_all()
        job.let_go()
        job.future.set_exception(error or cancelled())

    def _watch(self) -> None:
        """Takes cases whose time is over out of the queue."""
        while True:
            with self._changed:
                if self._closing and not self._waiting:
                    return
                ends = [j.control.deadline for j in self._waiting if j.control.deadline is not None]
                self._changed.wait(min(ends) - time.monotonic() if ends else None)
            self._withdraw_late()

    def _withdraw_late(self) -> None:
        """In a frame of its own: no case may stay in one that waits."""
        with self._changed:
            now = time.monotonic()
            over = [
                job
                for job in self._waiting
                if job.control.deadline is not None and job.control.deadline <= now
            ]
        for job in over:
            self._withdraw(job, late())
