"""Engines in ONNX Runtime: made when first needed, checked against the contract, errors mapped."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Bundle
from vera.errors import BundleError, EngineError, ShapeError, UsageError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, OrtValue

Tensor = npt.NDArray[np.float32]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Gradient(Protocol):
    """The generator and its gradient for one latent; its buffers are reused by every step.

    Attributes:
        outputs: The outputs of ``generator_forward`` by name, overwritten by ``forward``.
    """

    outputs: Mapping[str, Tensor]

    def forward(self, latent: Tensor) -> None:
        """Renders latents [1, 32, d] into ``outputs``."""

    def backward(self, grads: Mapping[str, Tensor]) -> Tensor:
        """Gradient [1, 32, d] of the last ``forward``.

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

    def gradient(self) -> Gradient:
        """The generator and its gradient."""
        ...


class OnnxEngines:
    """The engines of a bundle in this process."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None, device: str = "cpu") -> None:
        """Remembers the settings; a session is created when its engine is first used.

        Args:
            bundle: The verified bundle.
            threads: Threads of each engine; None takes all cores of this process.
            device: ``"cpu"`` or ``"cuda"``.

        Raises:
            UsageError: ``threads`` or ``device`` makes no sense.
            EngineError: ONNX Runtime has no such device here.
        """
        if threads is not None and threads < 1:
            raise UsageError(
                f"threads must be at least 1, got {threads}; leave it out to use all cores."
            )
        if device not in _PROVIDERS:
            raise UsageError(
                f"device must be one of {', '.join(_PROVIDERS)}, got {device!r}; choose one of "
                "them."
            )
        self._bundle = bundle
        self.layout = bundle.layout
        self._specs = contract.engines(bundle.layout)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._provider = _PROVIDERS[device]
        self._sessions: dict[str, InferenceSession] = {}
        if device != "cpu":
            self._require_provider(device)

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        """Runs an engine.

        Args:
            name: Engine of the contract.
            **inputs: Its inputs by name, float32, shapes as in the contract.

        Raises:
            ShapeError: An input is missing or does not fit the contract.
            EngineError: The engine failed or gave something that is not finite.
        """
        spec = self._specs[name]
        check_inputs(spec, inputs)
        session = self._session(name)
        names = [output.name for output in spec.outputs]
        with _mapped(name):
            values = session.run(names, {key: np.ascontiguousarray(v) for key, v in inputs.items()})
        outputs = dict(zip(names, values, strict=True))
        check_finite(name, outputs)
        return outputs

    def gradient(self) -> "OnnxGradient":
        """The generator and its gradient."""
        return OnnxGradient(
            self._session(contract.GENERATOR_FORWARD.name),
            self._session(contract.GENERATOR_BACKWARD.name),
            self.layout,
        )

    def _session(self, name: str) -> "InferenceSession":
        if name not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3  # errors come as exceptions; nothing is printed
            # Idle pools of ten sessions must not burn the cores that another engine is using.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            with _mapped(name):
                session = onnxruntime.InferenceSession(
                    str(self._bundle.engines[name]), options, providers=[self._provider]
                )
            check_session(self._specs[name], session)
            self._sessions[name] = session
        return self._sessions[name]

    def _require_provider(self, device: str) -> None:
        import onnxruntime

        if self._provider not in onnxruntime.get_available_providers():
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} has no {device} device here; install "
                "onnxruntime-gpu "
                "or use device='cpu'."
            )


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
    ) -> None:
        """Allocates the buffers for one latent of ``layout``."""
        specs = contract.engines(layout)
        self._ahead, self._behind = specs["generator_forward"], specs["generator_backward"]
        self._forward, self._backward = forward, backward
        self._latent = _buffers(self._ahead.inputs)["latent"]
        self.outputs: Mapping[str, Tensor] = _buffers(self._ahead.outputs)
        self._grad_latent = _buffers(self._behind.outputs)["grad_latent"]
        self._saved: dict[str, OrtValue | None] = dict.fromkeys(
            saved_names(forward, backward, layout)
        )
        self._grads: Mapping[str, Tensor] = {}
        self._into: Any = None  # bindings, complete after the first step
        self._back: Any = None

    def forward(self, latent: Tensor) -> None:
        """Renders latents [1, 32, d] into ``outputs``.

        Raises:
            ShapeError: ``latent`` is not one latent.
            EngineError: The engine failed.
        """
        check_inputs(self._ahead, {"latent": latent})
        if len(latent) != 1:
            raise ShapeError(
                f"latent must be {list(self._latent.shape)}, got {list(latent.shape)}; "
                "pass one at a time."
            )
        self._latent[...] = latent
        with _mapped(self._ahead.name):
            if self._into is None:
                first = self._bind_forward()
                self._forward.run_with_iobinding(first)
                values = first.get_outputs()[len(self.outputs) :]
                self._saved = dict(zip(self._saved, values, strict=True))
                self._into = self._bind_forward()
            else:
                self._forward.run_with_iobinding(self._into)

    def backward(self, grads: Mapping[str, Tensor]) -> Tensor:
        """Gradient [1, 32, d] of the last ``forward``; the array is reused by the next call.

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
            with _mapped(self._behind.name):
                self._back = self._bind_backward()
        if any(grads[name] is not held for name, held in self._grads.items()):
            raise ShapeError(
                "The gradients must be the arrays of the first step; write into these."
            )
        with _mapped(self._behind.name):
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


def check_inputs(spec: contract.EngineSpec, inputs: Mapping[str, Tensor]) -> None:
    """Compares inputs with the contract.

    Raises:
        ShapeError: An input is missing, unknown, of another dtype or of another shape.
    """
    if set(inputs) != {tensor.name for tensor in spec.inputs}:
        raise ShapeError(
            f"Engine {spec.name} takes {[t.name for t in spec.inputs]}, got {sorted(inputs)}; pass "
            "exactly these."
        )
    for tensor in spec.inputs:
        value = inputs[tensor.name]
        if value.dtype != tensor.dtype or not _fits(tensor.shape, value.shape):
            raise ShapeError(
                f"{tensor.name} of engine {spec.name} must be {tensor.dtype} "
                f"{_written(tensor.shape)}, got "
                f"{value.dtype} {list(value.shape)}; convert it first."
            )


def check_finite(name: str, outputs: Mapping[str, Tensor]) -> None:
    """Raises an EngineError if any output of engine ``name`` holds a NaN or an infinity."""
    for key, value in outputs.items():
        if not np.isfinite(value).all():
            raise EngineError(
                f"Engine {name} gave a {key} that is not finite; run vera check, or use another "
                "bundle."
            )


def check_session(spec: contract.EngineSpec, session: "InferenceSession") -> None:
    """Compares the tensors of a loaded engine with the contract.

    Raises:
        BundleError: A tensor is missing, or of another dtype or shape.
    """
    for kind, wanted, found in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        held = {tensor.name: tensor for tensor in found}
        extra = set(held) - {tensor.name for tensor in wanted}
        if extra and not spec.saved:
            raise BundleError(
                f"Engine {spec.name} of the bundle has the unknown {kind} {sorted(extra)[0]}; "
                "export it again."
            )
        for tensor in wanted:
            if tensor.name not in held:
                raise BundleError(
                    f"Engine {spec.name} of the bundle lacks the {kind} {tensor.name}; export it "
                    "again."
                )
            dims = tuple(d if isinstance(d, int) else None for d in held[tensor.name].shape)
            same_rank = len(dims) == len(tensor.shape)
            if (
                held[tensor.name].type != "tensor(float)"
                or not same_rank
                or not _open(tensor.shape, dims)
            ):
                raise BundleError(
                    f"The {kind} {tensor.name} of engine {spec.name} must be {tensor.dtype} "
                    f"{_written(tensor.shape)}, the bundle has {held[tensor.name].type} "
                    f"{list(dims)}; export it again."
                )


def saved_names(
    forward: "InferenceSession",
    backward: "InferenceSession",
    layout: contract.Layout = contract.DEFAULT,
) -> list[str]:
    """Names of the tensors that the forward graph saves for the backward graph.

    Raises:
        BundleError: The two graphs do not belong together.
    """
    specs = contract.engines(layout)
    known = {tensor.name for tensor in specs["generator_forward"].outputs}
    grads = {tensor.name for tensor in specs["generator_backward"].inputs}
    given = [tensor.name for tensor in forward.get_outputs() if tensor.name not in known]
    taken = {tensor.name for tensor in backward.get_inputs()} - grads
    if taken - set(given):
        raise BundleError(
            f"generator_backward needs {sorted(taken - set(given))[0]}, which generator_forward "
            "does not save; "
            "export both again."
        )
    return [name for name in given if name in taken]


def _fits(wanted: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(wanted) == len(shape) and all(
        w in (None, s) for w, s in zip(wanted, shape, strict=True)
    )


def _open(wanted: tuple[int | None, ...], dims: tuple[int | None, ...]) -> bool:
    """Whether every shape the contract allows may go through ``dims`` (None: any size)."""
    return all(d is None or d == w for w, d in zip(wanted, dims, strict=True))


def _written(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if side is None else str(side) for side in shape) + "]"


def _buffers(specs: tuple[contract.TensorSpec, ...]) -> dict[str, Tensor]:
    return {spec.name: np.zeros([s or 1 for s in spec.shape], np.float32) for spec in specs}


def _wrap(array: Tensor) -> "OrtValue":
    """The array as ONNX Runtime sees it, sharing its memory."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    """The one place where the exceptions of ONNX Runtime become ours."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions have no common base class of their own
        said = (str(error).splitlines() or ["no message"])[0]
        raise EngineError(
            f"Engine {name} failed ({type(error).__name__}: {said}); run vera check, or use "
            "another bundle."
        ) from error
