"""The generator and its gradient in ONNX Runtime, bound to buffers that every step reuses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vera import contract
from vera.engines.checks import check_inputs, mapped, saved_names
from vera.engines.protocol import Tensor
from vera.errors import EngineError, ShapeError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, OrtValue


class OnnxGradient:
    """``generator_forward`` and ``generator_backward`` bound to fixed buffers.

    What the forward graph saves for the backward graph stays where ONNX Runtime put it on the first
    step; later steps overwrite it in place, and nothing is copied in between.
    """

    def __init__(
        self,
        forward: "InferenceSession",
        backward: "InferenceSession",
        layout: contract.Layout = contract.DEFAULT,
        *,
        batch: int = 1,
    ) -> None:
        """Allocates the buffers for ``batch`` latents of ``layout``."""
        specs = contract.engines(layout)
        self._ahead, self._behind = specs["generator_forward"], specs["generator_backward"]
        self._forward, self._backward = forward, backward
        self._latent = _buffers(self._ahead.inputs, batch)["latent"]
        self.outputs: Mapping[str, Tensor] = _buffers(self._ahead.outputs, batch)
        self._grad_latent = _buffers(self._behind.outputs, batch)["grad_latent"]
        self._saved: dict[str, OrtValue | None] = dict.fromkeys(
            saved_names(forward, backward, layout)
        )
        self._grads: Mapping[str, Tensor] = {}
        self._into: Any = None  # bindings, complete after the first step
        self._back: Any = None

    def forward(self, latent: Tensor) -> None:
        """Renders latents [n, 32, d] into ``outputs``.

        Raises:
            ShapeError: ``latent`` is not as many latents as there are buffers for.
            EngineError: The engine failed.
        """
        check_inputs(self._ahead, {"latent": latent})
        if latent.shape != self._latent.shape:
            raise ShapeError(
                f"latent must be {list(self._latent.shape)}, got {list(latent.shape)}; "
                "pass as many as the buffers were made for."
            )
        self._latent[...] = latent
        with mapped(self._ahead.name):
            if self._into is None:
                first = self._bind_forward()
                self._forward.run_with_iobinding(first)
                values = first.get_outputs()[len(self.outputs) :]
                self._saved = dict(zip(self._saved, values, strict=True))
                self._into = self._bind_forward()
            else:
                self._forward.run_with_iobinding(self._into)

    def backward(self, grads: Mapping[str, Tensor]) -> Tensor:
        """Gradient [n, 32, d] of the last ``forward``; the array is reused by the next call.

        Raises:
            ShapeError: ``grads`` do not fit the contract, or are other arrays than in the first
                step.
            EngineError: The engine failed, or ``forward`` was never called.
        """
        if self._into is None:
            raise EngineError(
                "The gradient was asked for before the generator ran; call forward first."
            )
        if self._back is None:
            check_inputs(self._behind, grads)
            self._grads = dict(grads)
            with mapped(self._behind.name):
                self._back = self._bind_backward()
        if any(grads[name] is not held for name, held in self._grads.items()):
            raise ShapeError(
                "The gradients must be the arrays of the first step; write into these."
            )
        with mapped(self._behind.name):
            self._backward.run_with_iobinding(self._back)
        return self._grad_latent

    def _bind_forward(self) -> Any:
        binding = self._forward.io_binding()
        binding.bind_ortvalue_input("latent", _wrap(self._latent))
        for name, buffer in self.outputs.items():
            binding.bind_ortvalue_output(name, _wrap(buffer))
        for name, value in self._saved.items():
            if value is None:
                binding.bind_output(name)  # ONNX Runtime allocates; its size is the export's choice
            else:
                binding.bind_ortvalue_output(name, value)
        return binding

    def _bind_backward(self) -> Any:
        binding = self._backward.io_binding()
        for name, value in self._saved.items():
            binding.bind_ortvalue_input(name, value)
        for name, grad in self._grads.items():
            binding.bind_ortvalue_input(name, _wrap(grad))
        binding.bind_ortvalue_output("grad_latent", _wrap(self._grad_latent))
        return binding


def _buffers(specs: tuple[contract.TensorSpec, ...], batch: int) -> dict[str, Tensor]:
    return {spec.name: np.zeros([s or batch for s in spec.shape], np.float32) for spec in specs}


def _wrap(array: Tensor) -> "OrtValue":
    """The array as ONNX Runtime sees it, sharing its memory."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
