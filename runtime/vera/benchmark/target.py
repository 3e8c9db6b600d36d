"""What is measured: something that takes the photographs of a case and gives results."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Query:
    """One case.

    Attributes:
        photos: Files: reading and decoding them is part of the work.
        keep: The region to keep, for all of them.
        seed: Of its draws.
        options: Further settings, as :class:`vera.settings.Settings` names them.
    """

    photos: tuple[Path, ...]
    keep: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came of a case.

    Attributes:
        queue_s: How long it waited before the work began; None if the target does not tell.
        work_s: How long it was worked on, beside others; None likewise.
        steps: Gradient steps of the patient's inversion.
        refused: Photographs that were refused.
        loss: Final loss of the inversion; None if nothing was inverted.
        cosine: Largest cosine of an output to its original; None likewise.
        kept_difference: Largest difference of a kept pixel, in grey levels.
        versions: Of the libraries where it was done.
        images: uint8 [h, w, 3] or None each; empty unless they were asked for.
    """

    queue_s: float | None
    work_s: float | None
    steps: int
    refused: int
    loss: float | None
    cosine: float | None
    kept_difference: int
    versions: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Image | None, ...] = ()


class Target(Protocol):
    """Does queries; called by many threads at once.

    Attributes:
        name: Short, for tables.
        tolerance: By which share its final losses may differ from another target's; 0 asks for
            equal pictures.
        slots: How many cases it works on at once.
    """

    name: str
    tolerance: float
    slots: int

    def prepare(self, clients: int) -> None:
        """So many clients will ask at a time: opens what would otherwise open during the load."""

    def ask(self, query: Query, *, images: bool = False) -> Answer:
        """Does one query; with ``images`` the answer has them.

        Raises:
            BusyError: The queue is full.
            DeadlineError: It was given up.
            VeraError: It failed.
        """
        ...

    def close(self) -> None:
        """Ends what the target started."""


class Anonymizers:
    """A ``vera.Anonymizer``, of this process or of a server.

    Attributes:
        name: Short, for tables.
        tolerance: See :class:`Target`.
        slots: See :class:`Target`.
    """

    def __init__(
        self,
        name: str,
        anonymizer: Any,
        *,
        deadline_s: float | None = None,
        tolerance: float = 0.0,
        slots: int = 1,
    ) -> None:
        """Takes an anonymizer over.

        Args:
            name: Short, for tables.
            anonymizer: It; closed in the end.
            deadline_s: Of every query; None is never.
            tolerance: See :class:`Target`.
            slots: See :class:`Target`.
        """
        self.name, self.tolerance, self.slots = name, tolerance, slots
        self._anonymizer, self._deadline_s = anonymizer, deadline_s

    def ask(self, query: Query, *, images: bool = False) -> Answer:
        """See :class:`Target`."""
        job = self._anonymizer.submit(
            list(query.photos),
            keep=query.keep,
            seed=query.seed,
            deadline=self._deadline_s,
            **query.options,
        )
        results = job.result()
        times = job.times  # a server's word, or this process's clock
        return answer_of(results, (times.queue_s, times.work_s), images=images)

    def prepare(self, clients: int) -> None:
        """Nothing to do: all clients share the anonymizer."""

    def close(self) -> None:
        """Closes the anonymizer."""
        self._anonymizer.close()


class Clients:
    """A server's clients, which know nothing of each other.

    One ``vera.Anonymizer`` sends a server no more than it has room for. That is kind, and hides
    what happens when strangers send more; so everyone who asks gets one of their own.

    Attributes:
        name: Short, for tables.
        tolerance: See :class:`Target`.
        slots: See :class:`Target`.
    """

    def __init__(self, name: str, open_client: Callable[[], Target]) -> None:
        """Opens the first client."""
        self.name = name
        self._open_client = open_client
        self._all: list[Target] = []
        self._free: list[Target] = []
        self._lock = threading.Lock()
        self.prepare(1)
        self.tolerance, self.slots = self._all[0].tolerance, self._all[0].slots

    def prepare(self, clients: int) -> None:
        """Opens so many."""
        while len(self._all) < clients:
            self._free.append(self._opened())

    def ask(self, query: Query, *, images: bool = False) -> Answer:
        """See :class:`Target`."""
        with self._lock:
            client = self._free.pop() if self._free else None
        client = client or self._opened()
        try:
            return client.ask(query, images=images)
        finally:
            with self._lock:
                self._free.append(client)

    def close(self) -> None:
        """Closes all clients."""
        for client in self._all:
            client.close()

    def _opened(self) -> Target:
        client = self._open_client()
        with self._lock:
            self._all.append(client)
        return client


class OneAtATime:
    """The baseline of a server without a scheduler: the same calls, one after the other.

    In the order in which they came: a lock would let whoever was just served go first again.

    Attributes:
        name: Short, for tables.
        tolerance: See :class:`Target`.
        slots: One.
    """

    slots = 1

    def __init__(self, name: str, inner: Target, clock: Callable[[], float]) -> None:
        """``inner`` does the queries, one after the other; ``clock`` tells seconds."""
        self.name, self.tolerance = name, inner.tolerance
        self._inner, self._clock = inner, clock
        self._line = ThreadPoolExecutor(1)

    def ask(self, query: Query, *, images: bool = False) -> Answer:
        """See :class:`Target`; the wait for others counts as waiting in the queue."""
        return self._line.submit(self._ask, query, images, self._clock()).result()

    def _ask(self, query: Query, images: bool, begin: float) -> Answer:
        start = self._clock()
        answer = self._inner.ask(query, images=images)
        end = self._clock()
        waited = (answer.queue_s or 0.0) + start - begin
        work = answer.work_s if answer.work_s is not None else end - start
        return replace(answer, queue_s=waited, work_s=work)

    def prepare(self, clients: int) -> None:
        """One client is enough."""
        self._inner.prepare(1)

    def close(self) -> None:
        """Closes the inner target; what waits is given up."""
        self._line.shutdown(cancel_futures=True)
        self._inner.close()


def answer_of(
    results: Sequence[Any], split: tuple[float | None, float | None], *, images: bool
) -> Answer:
    """What the reports of a case's results say.

    Args:
        results: Of :class:`vera.case.request.Result`.
        split: Seconds that the case waited and was worked on; None is not told.
        images: Whether the answer has the images.
    """
    reports = [result.report for result in results]
    inversions = [report.inversion for report in reports if report.inversion is not None]
    cosines = [face.identity_cosine for report in reports for face in report.faces if face.patient]
    return Answer(
        queue_s=split[0],
        work_s=split[1],
        steps=max((one.steps for one in inversions), default=0),
        refused=sum(report.verdict == "refused" for report in reports),
        loss=float(np.mean([one.loss_after for one in inversions])) if inversions else None,
        cosine=max(cosines, default=None),
        kept_difference=max((report.kept.max_difference for report in reports), default=0),
        versions=dict(reports[0].versions) if reports else {},
        images=tuple(result.image for result in results) if images else (),
    )
