"""One case between the arrival of its request and the end of its stream."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from vera.case.local import LocalCases
from vera.case.request import CaseRequest, Result
from vera.errors import CancelledError
from vera.files.write import encode_png
from vera.scheduling.job import Job
from vera.serving.responder import Responder
from vera.wire import event as events
from vera.wire.event import Event, Progress, ResultEvent
from vera.wire.request import WireRequest
from vera.wire.server import Limits


class Conversation:
    """Asks for a case and tells its client how it goes.

    Nothing of a case goes out before all of it is done and encoded; what fails sends an error and
    no image.
    """

    def __init__(
        self, request: WireRequest, responder: Responder, *, every: int, number: str
    ) -> None:
        """Remembers what was asked.

        Args:
            request: Within the limits.
            responder: The way back.
            every: Every n-th progress of a stage is told.
            number: Random, for the log.
        """
        self.request, self.responder, self.number = request, responder, number
        self.size = request.size
        self._every = every
        self._stage, self._calls = "", 0
        self._job: Job[list[Result]] | None = None

    def begin(
        self, cases: LocalCases, limits: Limits, ended: Callable[["Conversation"], None]
    ) -> None:
        """Hands the case in; from here on its job alone holds the photographs.

        Args:
            cases: Does it.
            limits: Of the server.
            ended: Called once, from any thread, when the case is over in whatever way.

        Raises:
            VeraError: It was not taken; ``ended`` is never called.
        """
        asked = self.request
        self.request = replace(asked, photos=(), people=None)
        request = CaseRequest(
            [photo.image() for photo in asked.photos],
            [photo.kept() for photo in asked.photos],
            asked.seed,
            asked.key,
            asked.people,
            asked.settings,
            limits.pixels,
        )
        seconds = min(limits.seconds, asked.deadline_s or limits.seconds)
        self._job = cases.submit(request, self._progress, seconds)
        self._job.add_done_callback(lambda _: ended(self))

    @property
    def job(self) -> Job[list[Result]]:
        """The case in work."""
        if self._job is None:
            raise CancelledError("The case was never begun; send it again.")
        return self._job

    def watch(self) -> None:
        """Cancels the case if its client is gone; called now and then while it waits or works."""
        job = self._job
        if job is not None and not job.done() and self.responder.cancelled:
            job.cancel()

    def release(self) -> None:
        """Lets go of the results: a job and its callback hold each other."""
        self._job = None

    def answers(self, results: Sequence[Result]) -> list[ResultEvent]:
        """The results as they are sent, all images encoded."""
        return [self._answer(i, len(results), result) for i, result in enumerate(results)]

    def tell(self, told: Sequence[Event]) -> None:
        """Sends events in order."""
        for event in told:
            self.responder.send(events.to_tensors(event, base64=self.request.base64))

    def _answer(self, index: int, count: int, result: Result) -> ResultEvent:
        image = result.image
        person = result.person if self.request.persons else None
        if image is None:
            return ResultEvent(index, count, result.report, person=person)
        raw = self.request.images == "raw"
        content = image.tobytes() if raw else bytes(encode_png(image))
        height, width = image.shape[:2]
        return ResultEvent(index, count, result.report, content, (height, width, 3), person)

    def _progress(self, stage: str, fraction: float) -> None:
        self.watch()
        self._calls = self._calls + 1 if stage == self._stage else 0
        self._stage = stage
        if self.request.progress and self._calls % self._every == 0:
            self.tell([Progress(stage, min(1.0, max(0.0, fraction)))])
