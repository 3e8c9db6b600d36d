"""Engines in ONNX Runtime: made when first needed, checked against the contract."""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vera import contract
from vera.bundle import Bundle
from vera.engines.checks import check_finite, check_inputs, check_session, mapped
from vera.engines.gradient import OnnxGradient
from vera.engines.protocol import Tensor
from vera.errors import EngineError, UsageError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


# Their sums come out in another order on another number of threads (global means, vectors times
# matrices), which moves the last bits and, after forty steps, can change whom the gate lets
# through. All others give the same bits on any number. These take some 15 ms of a photograph.
_ONE_THREAD = frozenset({"attributes", "encoder", "guide"})


class OnnxEngines:
    """The engines of a bundle in this process; may be used by several threads at once.

    On a CPU the results do not depend on the number of threads, bit for bit.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        device: str = "cpu",
        shared: Callable[[], bool] | None = None,
    ) -> None:
        """Remembers the settings; a session is created when its engine is first used.

        Args:
            bundle: The verified bundle.
            threads: Threads of each engine; None takes all cores of this process.
            device: ``"cpu"`` or ``"cuda"``.
            shared: Whether others use the cores now, too; engines then take one thread each.

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
        self._shared = shared or _alone
        self._on_cpu = device == "cpu"  # on a GPU another session would be there twice for nothing
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, int], InferenceSession] = {}
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
        session = self._session(name, 1 if self._on_cpu and self._shared() else self._threads)
        names = [output.name for output in spec.outputs]
        with mapped(name):
            values = session.run(names, {key: np.ascontiguousarray(v) for key, v in inputs.items()})
        outputs = dict(zip(names, values, strict=True))
        check_finite(name, outputs)
        return outputs

    @property
    def threads(self) -> int:
        """Threads of an engine that has the cores to itself."""
        return self._threads

    def session(self, name: str) -> "InferenceSession":
        """The session of an engine, for tensors that the contract does not name (saved ones)."""
        return self._session(name, self._threads)

    def gradient(self, *, batch: int = 1, threads: int | None = None) -> OnnxGradient:
        """The generator and its gradient, with buffers of their own.

        Args:
            batch: Latents of one call.
            threads: Of the two engines; None takes this object's number.
        """
        count = threads or self._threads
        return OnnxGradient(
            self._session(contract.GENERATOR_FORWARD.name, count),
            self._session(contract.GENERATOR_BACKWARD.name, count),
            self.layout,
            batch=batch,
        )

    def _session(self, name: str, threads: int) -> "InferenceSession":
        key = (name, 1 if name in _ONE_THREAD else threads)
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = self._open(*key)
            return self._sessions[key]

    def _open(self, name: str, threads: int) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors come as exceptions; nothing is printed
        # Idle pools of ten sessions must not burn the cores that another engine is using.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with mapped(name):
            session = onnxruntime.InferenceSession(
                str(self._bundle.engines[name]), options, providers=[self._provider]
            )
        check_session(self._specs[name], session)
        return session

    def _require_provider(self, device: str) -> None:
        import onnxruntime

        if self._provider not in onnxruntime.get_available_providers():
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} has no {device} device here; install "
                "onnxruntime-gpu "
                "or use device='cpu'."
            )


def _alone() -> bool:
    """Nobody else is known to use the cores."""
    return False
