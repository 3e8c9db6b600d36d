"""Cases done in this process, several at once, on one set of engines."""

from collections.abc import Sequence

from vera.bundle import Bundle
from vera.case.pipeline import anonymize_case
from vera.case.request import CaseRequest, Progress, Result
from vera.engines import Engines, OnnxEngines
from vera.judge import Judge
from vera.scheduling.batches import Batches
from vera.scheduling.job import Control, Job
from vera.scheduling.lanes import Lanes
from vera.scheduling.scheduler import Scheduler
from vera.scheduling.supervised import SupervisedEngines, SupervisedSteps


class LocalCases:
    """Does cases on the engines of a bundle. May be used by several threads at once.

    A case gives the same bits whatever else is in work (on a GPU: see ``scheduling.batches``).
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        device: str = "cpu",
        judges: Sequence[Judge] = (),
        workers: int = 1,
        queue: int = 64,
        engines: Engines | None = None,
    ) -> None:
        """Opens nothing yet; arguments as of :class:`vera.Anonymizer`.

        ``engines`` take the place of the bundle's own.
        """
        self.bundle = bundle
        self.scheduler = Scheduler(workers, queue)
        own = OnnxEngines(
            bundle, threads=threads, device=device, shared=lambda: self.scheduler.shared
        )
        self.engines: Engines = engines or own
        self._judges = tuple(judges)
        self._steps: Lanes | Batches
        if device == "cpu":
            self._steps = Lanes(self.engines, own.threads, lambda: self.scheduler.shared)
        else:
            self._steps = Batches(self.engines)

    def run(self, request: CaseRequest, progress: Progress) -> list[Result]:
        """Does a case in the caller's thread; see :meth:`vera.Anonymizer.anonymize`."""
        return self.scheduler.run(lambda control: self._do(request, progress, control))

    def submit(
        self, request: CaseRequest, progress: Progress, deadline: float | None
    ) -> Job[list[Result]]:
        """Hands a case in; see :meth:`vera.Anonymizer.submit`."""
        return self.scheduler.submit(
            lambda control: self._do(request, progress, control), deadline=deadline
        )

    def close(self, *, drain: bool = True) -> None:
        """Takes no further cases; see :meth:`vera.scheduling.scheduler.Scheduler.close`."""
        self.scheduler.close(drain=drain)
        self._steps.close()

    def _do(self, request: CaseRequest, progress: Progress, control: Control) -> list[Result]:
        def told(stage: str, fraction: float) -> None:
            control.check()  # between photographs and variants, where no engine may be run for long
            progress(stage, fraction)

        case = request.open(control.check)
        done = anonymize_case(
            case,
            SupervisedEngines(self.engines, control),
            self.bundle,
            told,
            request.people,
            self._judges,
            SupervisedSteps(self._steps, control),
        )
        return [Result(outcome.image, outcome.report, outcome.person) for outcome in done]
