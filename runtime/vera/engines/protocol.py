"""What the pipeline needs of whatever runs the engines."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vera import contract

Tensor = npt.NDArray[np.float32]


class Gradient(Protocol):
    """The generator and its gradient for n latents; its buffers are reused by every step.

    Attributes:
        outputs: The outputs of ``generator_forward`` by name, overwritten by ``forward``.
    """

    outputs: Mapping[str, Tensor]

    def forward(self, latent: Tensor) -> None:
        """Renders latents [n, 32, d] into ``outputs``."""

    def backward(self, grads: Mapping[str, Tensor]) -> Tensor:
        """Gradient [n, 32, d] of the last ``forward``.

        Args:
            grads: Gradient of the loss for each output, named ``grad_<output>``. The same arrays in
                each step.
        """
        ...


class Engines(Protocol):
    """What the pipeline needs of whatever runs the engines of the contract.

    Attributes:
        layout: Sizes of their tensors.
    """

    layout: contract.Layout

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs by name of engine ``name``; all of them finite."""
        ...

    def gradient(self, *, batch: int = 1, threads: int | None = None) -> Gradient:
        """The generator and its gradient for ``batch`` latents; ``threads`` as the engines' own."""
        ...
