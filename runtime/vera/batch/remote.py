"""A job's cases, done by a server: threads that wait for it, and write what comes.

The photographs of a case are read, and its results written, by one thread; the server has slots and
a queue of its own, and the client repeats what it may (:mod:`vera.client.retrying`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from vera.batch.casework import AnonymizerLike, CaseTask, ImageWriter, Progress, ResultLike
from vera.batch.workers import IN_FLIGHT, Outcome, Ticket, awaited, outcome_of
from vera.errors import ServerError
from vera.files.write import write_image


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
        self.in_flight = 1 if count == 1 else IN_FLIGHT * count
        self._anonymizer = anonymizer
        self._of_one_version = _OneVersion(anonymizer, version)
        self._progress, self._write = progress, write
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
        done = self._pool.submit(
            outcome_of, self._of_one_version, task, self._progress, self._write
        )
        return Ticket(task, done)

    def wait(self, ticket: Ticket) -> Outcome:
        """The outcome of a task; each is asked for once."""
        assert ticket.future is not None
        return awaited(ticket.future)
