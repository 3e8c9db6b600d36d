"""The loss of the inversion and its gradient, face by face, wherever they are computed."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vera.engines import Engines, Gradient, Tensor
from vera.identity.target import Target
from vera.ops.inversion_loss import LossBuffers, buffers_for, inversion_loss

Losses = npt.NDArray[np.float64]


class Evaluator(Protocol):
    """Computes loss and gradient of faces that do not depend on each other."""

    def evaluate(
        self, targets: Sequence[Target], latents: Tensor, *, with_gradient: bool
    ) -> tuple[Losses, Tensor]:
        """Loss of each face, and its gradient.

        Args:
            targets: One per face.
            latents: float32 [n, 32, d].
            with_gradient: Whether it is wanted; zeros otherwise.

        Returns:
            float64 [n] and float32 [n, 32, d].

        Raises:
            EngineError: An engine failed.
        """
        ...


class Lane:
    """A gradient with its buffers: evaluates one face after the other, for one thread at a time."""

    def __init__(self, gradient: Gradient, *, threads: int = 0) -> None:
        """Takes ``gradient`` for itself; ``threads`` of the native loss, 0 leaves it to OpenMP."""
        self._gradient, self._threads = gradient, threads
        self._buffers: LossBuffers | None = None

    def evaluate(
        self, target: Target, latent: Tensor, *, with_gradient: bool
    ) -> tuple[float, Tensor | None]:
        """Loss of one face at ``latent`` [1, 32, d], and a copy of its gradient [32, d]."""
        if self._buffers is None:
            self._buffers = buffers_for(target.constants)
        self._gradient.forward(latent)
        values = inversion_loss(
            self._gradient.outputs, target.constants, self._buffers, threads=self._threads
        )
        loss = float(values.sum())
        if not with_gradient:
            return loss, None
        return loss, self._gradient.backward(self._buffers.gradients)[0].copy()


class OneByOne:
    """Evaluates the faces one after the other in the caller's thread."""

    def __init__(self, engines: Engines) -> None:
        """The gradient is made when it is first needed."""
        self._engines = engines
        self._lane: Lane | None = None

    def evaluate(
        self, targets: Sequence[Target], latents: Tensor, *, with_gradient: bool
    ) -> tuple[Losses, Tensor]:
        """See :class:`Evaluator`."""
        if self._lane is None:
            self._lane = Lane(self._engines.gradient())
        lane = self._lane
        done = [
            lane.evaluate(target, latents[i : i + 1], with_gradient=with_gradient)
            for i, target in enumerate(targets)
        ]
        return joined(done, latents)


def joined(done: Sequence[tuple[float, Tensor | None]], latents: Tensor) -> tuple[Losses, Tensor]:
    """What an :class:`Evaluator` returns, out of the loss and gradient of each face at ``latents``.

    A face without a gradient gets zeros.
    """
    grads = np.zeros_like(latents)
    for i, (_, grad) in enumerate(done):
        if grad is not None:
            grads[i] = grad
    return np.array([loss for loss, _ in done], np.float64), grads
