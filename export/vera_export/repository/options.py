"""What a model repository is rendered for."""

from dataclasses import dataclass, field
from typing import Literal

from vera.errors import UsageError
from vera.serving.parameters import Parameters
from vera.wire.server import Limits

Backend = Literal["python", "onnxruntime", "tensorrt"]
BACKENDS: tuple[Backend, ...] = ("python", "onnxruntime", "tensorrt")
DEVICES = ("cpu", "gpu")

_SERVED = Parameters()  # what a model takes that is told nothing


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """What a model repository is rendered for.

    Attributes:
        backend: What runs the single engines. ``anonymize`` is a Python model in each case.
        device: ``"cpu"`` or ``"gpu"``.
        slots: Cases in work at once.
        queue: Cases, and requests of each engine, that wait; further ones are told to come later.
        threads: Of each engine on the CPU; None leaves the choice to the runtime.
        limits: What one request may ask for.
        progress_every: Each n-th progress of a stage is told.
    """

    backend: Backend = "python"
    device: str = "cpu"
    slots: int = _SERVED.slots
    queue: int = _SERVED.queue
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    progress_every: int = _SERVED.progress_every

    def __post_init__(self) -> None:
        """Refuse what no server could be.

        Raises:
            UsageError: Unknown back end or device, numbers below 1, TensorRT without a GPU.
        """
        if self.backend not in BACKENDS or self.device not in DEVICES:
            raise UsageError(
                f"There is no back end {self.backend!r} on device {self.device!r}; choose of "
                f"{', '.join(BACKENDS)} and of {', '.join(DEVICES)}."
            )
        if self.backend == "tensorrt" and self.device != "gpu":
            raise UsageError("TensorRT runs on a GPU only, got --device cpu; pass --device gpu.")
        limits = {name: getattr(self.limits, name) for name in Limits.__dataclass_fields__}
        numbers = {"slots": self.slots, "queue": self.queue, "threads": self.threads or 1}
        for name, value in {**numbers, **limits, "progress_every": self.progress_every}.items():
            if not value >= 1:
                raise UsageError(f"{name} of a repository must be at least 1, got {value}.")
