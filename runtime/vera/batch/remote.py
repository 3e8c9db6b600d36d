"""A job's cases, done by a server: threads that wait for it, and write what comes.

The photographs of a case are read, and its results written, by one thread; the server has slots and
a queue of its own, and the client repeats what it may (:mod:`vera.client.retrying`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from vera.batch.casework import (
    AnonymizerLike,
    CaseFailure,
    CaseTask,
    ImageWriter,
    Progress,
    ResultLike,
    do_case,
)
from vera.batch.workers import Outcome, Ticket, _awaited
from vera.errors import ServerError
from vera.files.write import write_image

_PIECE_S = 0.5  # longest wait before a Ctrl-C is noticed


_IN_FLIGHT = 2  # cases per request that is sent at once


class RemoteAnonymizer(AnonymizerLike, Protocol):
    """An anonymizer for several threads at once, as :class:`vera.Anonymizer` with a url."""

    def close(self, *, drain: bool = True) -> None:
        """Take no more cases; without ``drain``, cancel what runs."""


@dataclass(frozen=True, slots=True)
class _OneVersion:
    """An anonymizer whose results count only if the VerA that the job began with made them."""

    inner: AnonymizerLike
    version: str

    def anonymize(self, *photos: Any, **options: Any) -> Sequence[ResultLike]:
        results = self.inner.anonymize(*photos, **options)
        if any(result.report.versions.get("vera") != self.version for result in results):
            raise ServerError(
                "The server's VerA changed while the job ran; run the same command again, which "
                "does the cases of the earlier version again."
            )
        return results


@dataclass(frozen=True, slots=True)
class _Work:
    anonymizer: AnonymizerLike
    progress: Progress | None
    write: ImageWriter

    def __call__(self, task: CaseTask) -> Outcome:
        try:
            return do_case(self.anonymizer, task, progress=self.progress, write=self.write)
        except Exception as error:
            return CaseFailure.of(error, task)


class RemoteCrew:
    """Several requests at once; a context manager, which ends them."""

    def __init__(
        self,
        count: int,
        anonymizer: RemoteAnonymizer,
        *,
        version: str,
        progress: Progress | None = None,
        write: ImageWriter = write_image,
    ) -> None:
        """Threads are started as tasks come in.

        Args:
            count: How many requests are sent at once.
            anonymizer: Sends them; is closed if the job is broken off.
            version: Of the server's VerA, as the job's options have it.
            progress: Passed to it; with several at once nobody could tell them apart.
            write: Writes one image, whole or not at all.
        """
        # Outcomes are asked for in order: while the first is slow, others go on behind it.
        self.in_flight = 1 if count == 1 else _IN_FLIGHT * count
        self._anonymizer = anonymizer
        self._work = _Work(_OneVersion(anonymizer, version), progress, write)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="vera-remote")

    def __enter__(self) -> Self:
        """Nothing to do: threads start with the first task."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the threads; if the job was broken off, for no answer any more."""
        if kind is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._anonymizer.close(drain=False)
        self._pool.shutdown()

    def submit(self, task: CaseTask) -> Ticket:
        """Hand a task in."""
        return Ticket(task, self._pool.submit(self._work, task))

    def wait(self, ticket: Ticket) -> Outcome:
        """The outcome of a task; each is asked for once."""
        assert ticket.future is not None
        return _awaited(ticket.future)
