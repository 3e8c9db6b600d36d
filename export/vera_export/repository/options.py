"""What a model repository is rendered for."""

from dataclasses import dataclass, field
from typing import Literal

from vera.errors import UsageError
from vera.serving.parameters import Parameters
from vera.wire.server import Limits

Backend = Literal["python", "onnxruntime", "tensorrt"]
BACKENDS: tuple[Backend, ...] = ("python", "onnxruntime", "tensorrt")
DEVICES = ("cpu", "gpu")
ENGINES = ("all", "none")

_SERVED = Parameters()  # what a model takes that is told nothing


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """What a model repository is rendered for.

    Attributes:
        backend: What runs the single engines. ``anonymize`` is a Python model in each case.
        device: ``"cpu"`` or ``"gpu"``.
        engines: ``"all"`` makes each engine a model of its own beside ``anonymize``, which whoever
            reaches the server can then run; ``"none"`` leaves ``anonymize`` alone.
        slots: Cases in work at once; None leaves it to the server: its cores, or eight on a GPU.
        queue: Cases, and requests of each engine, that wait; further ones are told to come later.
        threads: Cores that the server may use; None takes all of its process.
        limits: What one request may ask for.
        progress_every: Each n-th progress of a stage is told.
    """

    backend: Backend = "python"
    device: str = "cpu"
    engines: str = "all"
    slots: int | None = None
    queue: int = _SERVED.queue
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    progress_every: int = _SERVED.progress_every

    def __post_init__(self) -> None:
        """Refuse what no server could be.

        Raises:
            UsageError: Unknown back end, device or choice of engines, numbers below 1, TensorRT
                without a GPU.
        """
        if self.backend not in BACKENDS or self.device not in DEVICES:
            raise UsageError(
                f"There is no back end {self.backend!r} on device {self.device!r}; choose of "
                f"{', '.join(BACKENDS)} and of {', '.join(DEVICES)}."
            )
        if self.engines not in ENGINES:
            raise UsageError(
                f"engines of a repository must be {' or '.join(ENGINES)}, got {self.engines!r}."
            )
        if self.backend == "tensorrt" and self.device != "gpu":
            raise UsageError("TensorRT runs on a GPU only, got --device cpu; pass --device gpu.")
        limits = {name: getattr(self.limits, name) for name in Limits.__dataclass_fields__}
        numbers = {"queue": self.queue, **limits, "progress_every": self.progress_every}
        left = {"slots": self.slots, "threads": self.threads}  # None: to the server
        numbers |= {name: value for name, value in left.items() if value is not None}
        for name, value in numbers.items():
            if not value >= 1:
                raise UsageError(f"{name} of a repository must be at least 1, got {value}.")
