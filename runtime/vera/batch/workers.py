"""Who does the cases of a job: its own process, one after the other, or several processes.

Both take tasks in order and are asked for the outcomes in order, so that nothing depends on which
process is faster. A worker opens an anonymizer of its own and keeps it; photographs and images do
not travel between processes.

A process that dies takes all unfinished cases with it, and does not say which one was to blame.
They are therefore done again, one at a time: only a case that ends a process that works on nothing
else has failed.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from vera.batch.casework import (
    AnonymizerLike,
    CaseDone,
    CaseFailure,
    CaseTask,
    ImageWriter,
    Progress,
    do_case,
)
from vera.files.write import write_image

Outcome = CaseDone | CaseFailure
OpenWorker = Callable[[], AnonymizerLike]

_PIECE_S = 0.5  # longest wait before a Ctrl-C is noticed
IN_FLIGHT = 2  # cases per worker: the next one waits at its door, and a kill costs no more


@dataclass(slots=True, eq=False)
class Ticket:
    """A task that was handed in.

    Attributes:
        task: What is to be done.
        future: Its outcome to come; None while it waits for the suspects to be done.
        suspect: Whether a process died while this task was unfinished.
    """

    task: CaseTask
    future: Future[Outcome] | None = None
    suspect: bool = False


class Crew(Protocol):
    """Does tasks."""

    @property
    def in_flight(self) -> int:
        """How many tasks should be handed in before the first outcome is waited for."""

    def submit(self, task: CaseTask) -> Ticket:
        """Hand a task in."""

    def wait(self, ticket: Ticket) -> Outcome:
        """The outcome of a task; each is asked for once."""


class OwnProcess:
    """Does each case when its outcome is asked for."""

    in_flight = 1

    def __init__(
        self,
        anonymizer: AnonymizerLike,
        *,
        progress: Progress | None = None,
        write: ImageWriter = write_image,
    ) -> None:
        """See :func:`vera.batch.casework.do_case`."""
        self._anonymizer, self._progress, self._write = anonymizer, progress, write

    def submit(self, task: CaseTask) -> Ticket:
        """Hand a task in."""
        return Ticket(task)

    def wait(self, ticket: Ticket) -> Outcome:
        """Do it."""
        return outcome_of(self._anonymizer, ticket.task, self._progress, self._write)


class Workers:
    """Several processes; a context manager, which ends them."""

    def __init__(
        self, count: int, open_worker: OpenWorker, *, write: ImageWriter = write_image
    ) -> None:
        """Processes are started as tasks come in.

        Args:
            count: How many processes.
            open_worker: Opens an anonymizer in a worker; must be picklable.
            write: Writes one image; must be picklable.
        """
        self.in_flight = IN_FLIGHT * count
        self._count = count
        self._setup = (open_worker, write)
        self._open: list[Ticket] = []
        self._foreign = set(multiprocessing.active_children())
        self._pool = self._new_pool()

    def __enter__(self) -> Self:
        """Nothing to do: processes start with the first task."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes, at once if the job was broken off."""
        if kind is not None:
            for process in set(multiprocessing.active_children()) - self._foreign:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, task: CaseTask) -> Ticket:
        """Hand a task in."""
        ticket = Ticket(task)
        self._open.append(ticket)
        self._start_waiting()
        return ticket

    def wait(self, ticket: Ticket) -> Outcome:
        """The outcome of a task; each is asked for once."""
        outcome = None
        if ticket.future is not None:
            try:
                outcome = awaited(ticket.future)
            except BrokenExecutor:
                self._begin_again()
        if outcome is None:
            outcome = self._alone(ticket.task)
        self._open.remove(ticket)
        self._start_waiting()
        return outcome

    def _start_waiting(self) -> None:
        """Start what has not been started, unless there are suspects, who must be alone."""
        if any(ticket.suspect for ticket in self._open):
            return
        for ticket in self._open:
            if ticket.future is None:
                try:
                    ticket.future = self._send(ticket.task)
                except BrokenExecutor:
                    self._begin_again()
                    return

    def _begin_again(self) -> None:
        """New processes; everything unfinished is suspected of having killed the old ones."""
        self._pool.shutdown()
        self._pool = self._new_pool()
        for ticket in self._open:
            future = ticket.future
            if future is not None and (not future.done() or future.exception() is not None):
                ticket.future, ticket.suspect = None, True

    def _alone(self, task: CaseTask) -> Outcome:
        """Do a task while no other one is in work."""
        try:
            future = self._send(task)
        except BrokenExecutor:  # a process died while it had nothing to do
            self._begin_again()
            future = self._send(task)
        try:
            return awaited(future)
        except BrokenExecutor:
            self._begin_again()
            return CaseFailure(
                "The process that worked on this case was ended by the system, often for lack of "
                "memory; use fewer --workers or smaller photographs."
            )

    def _send(self, task: CaseTask) -> Future[Outcome]:
        # A process is started here when one is missing, and inherits what is blocked: Ctrl-C goes
        # to the whole group of processes, but is the parent's to answer.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(_work, task)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _new_pool(self) -> ProcessPoolExecutor:
        # Spawned, not forked: a fork copies the locks of ONNX Runtime's threads, not the threads.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self._count, mp_context=context, initializer=_begin, initargs=self._setup
        )


def awaited(future: Future[Outcome]) -> Outcome:
    """The result of a future.

    Waits in pieces: a Ctrl-C that the system hands to another thread does not wake this one.
    """
    while True:
        done, _ = wait([future], timeout=_PIECE_S)
        if done:
            return future.result()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def outcome_of(
    anonymizer: AnonymizerLike, task: CaseTask, progress: Progress | None, write: ImageWriter
) -> Outcome:
    """Do a case; an error is its outcome, too. See :func:`vera.batch.casework.do_case`."""
    try:
        return do_case(anonymizer, task, progress=progress, write=write)
    except Exception as error:
        return CaseFailure.of(error, task)


@dataclass(slots=True)
class _Worker:
    open_worker: OpenWorker
    write: ImageWriter
    anonymizer: AnonymizerLike | None = None


# The one thing that a worker process keeps between cases; empty in every other process.
_worker: list[_Worker] = []


def _begin(open_worker: OpenWorker, write: ImageWriter) -> None:
    """Prepare a worker process; the anonymizer is opened by its first task, which can tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker[:] = [_Worker(open_worker, write)]
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: CaseTask) -> Outcome:
    worker = _worker[0]
    try:
        if worker.anonymizer is None:
            worker.anonymizer = worker.open_worker()
    except Exception as error:
        return CaseFailure.of(error, task)
    return outcome_of(worker.anonymizer, task, None, worker.write)
