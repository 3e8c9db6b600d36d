"""The events of a case, made into its results."""

from dataclasses import replace

from vera.case.request import Result
from vera.client.acceptance import Terms, accepted
from vera.client.failures import misfit, unfinished
from vera.client.outgoing import Outgoing
from vera.client.typed import fits
from vera.wire.event import Done, Event, Progress, ResultEvent
from vera.wire.server import ServerContract

# Of case.pipeline. A server of a later version may have others, and whatever else it tells is not
# for a terminal.
STAGES = ("find", "invert", "draw", "done")
_OTHER_STAGE = "work"


class Incoming:
    """Collects what a server tells of one case.

    Every attempt begins anew: a pair put together from two of them could be two people. Progress
    alone goes on, and never back.
    """

    def __init__(self, sent: Outgoing, server: ServerContract) -> None:
        """Nothing has come yet."""
        self._known = sent.known
        self._photos = len(sent.request.photos)
        self._terms = Terms(sent.request, server)
        self._results: dict[int, Result] = {}
        self._fraction = 0.0
        self.done: Done | None = None

    def begin(self) -> None:
        """Forget what an earlier attempt told."""
        self._results.clear()
        self.done = None

    def take(self, event: Event) -> Progress | None:
        """Keep an event of this attempt.

        Returns:
            Progress, if it is some.

        Raises:
            MisfitError: The event does not belong to this case.
        """
        if self.done is not None:
            raise misfit("more after its end")
        match event:
            case Progress():
                return self._further(event)
            case ResultEvent():
                self._keep(event)
                return None
            case Done() if fits(event, Done):
                self.done = event
                return None
        raise misfit("an event that no case has")

    def results(self) -> list[Result]:
        """All results in their order; there are none before the end.

        Raises:
            LostError: The stream ended before the case was done.
            MisfitError: There are too few.
        """
        if self.done is None:
            raise unfinished()
        count = self._terms.count
        if len(self._results) != count:
            raise misfit(f"{len(self._results)} results instead of {count}")
        return [self._results[i] for i in range(count)]

    def _further(self, event: Progress) -> Progress | None:
        if not fits(event, Progress) or not 0 <= event.fraction <= 1:
            raise misfit("progress that is none")
        if event.fraction < self._fraction:
            return None
        self._fraction = event.fraction
        return event if event.stage in STAGES else replace(event, stage=_OTHER_STAGE)

    def _keep(self, event: ResultEvent) -> None:
        if event.index in self._results:
            raise misfit("the same result twice")
        image = accepted(event, self._terms)
        report = event.report
        known = self._known.get((event.index % self._photos, report.reason or ""))
        if known is not None:
            report = replace(report, message=known)
        self._results[event.index] = Result(image, report, event.person)
