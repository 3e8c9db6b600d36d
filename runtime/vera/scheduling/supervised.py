"""Engines and steps of one case, which look before each call whether the case should go on."""

from collections.abc import Sequence

from vera import contract
from vera.engines import Engines, Gradient, Tensor
from vera.identity.objective import Evaluator, Losses
from vera.identity.target import Target
from vera.scheduling.job import Control


class SupervisedEngines:
    """Engines that a cancelled or late case cannot use any more."""

    layout: contract.Layout

    def __init__(self, engines: Engines, control: Control) -> None:
        """``control`` is the case's."""
        self._engines, self._control = engines, control
        self.layout = engines.layout

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        """See :class:`vera.engines.Engines`; raises CancelledError or DeadlineError first."""
        self._control.check()
        return self._engines.run(name, **inputs)

    def gradient(self, *, batch: int = 1, threads: int | None = None) -> Gradient:
        """See :class:`vera.engines.Engines`."""
        self._control.check()
        return self._engines.gradient(batch=batch, threads=threads)


class SupervisedSteps:
    """Steps that a cancelled or late case cannot take any more, counted."""

    def __init__(self, evaluator: Evaluator, control: Control) -> None:
        """``control`` is the case's."""
        self._evaluator, self._control = evaluator, control

    def evaluate(
        self, targets: Sequence[Target], latents: Tensor, *, with_gradient: bool
    ) -> tuple[Losses, Tensor]:
        """See :class:`vera.identity.objective.Evaluator`."""
        self._control.check()
        self._control.steps += len(targets)
        return self._evaluator.evaluate(targets, latents, with_gradient=with_gradient)
