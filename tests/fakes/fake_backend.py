"""A stand-in for Triton's ``triton_python_backend_utils``: what models send is remembered."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class Tensor:
    def __init__(self, name: str, value: np.ndarray) -> None:
        self._name, self.value = name, value

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self.value

    @classmethod
    def from_dlpack(cls, name: str, tensor: "Tensor") -> "Tensor":
        return cls(name, tensor.value.copy())


class TritonError(Exception):
    UNAVAILABLE, INVALID_ARG, CANCELLED, INTERNAL = 1, 2, 3, 4

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        super().__init__(message)
        self.code = code


class InferenceResponse:
    def __init__(self, output_tensors=(), error: TritonError | None = None) -> None:
        self.outputs = {tensor.name(): tensor.value for tensor in output_tensors}
        self.error = error


class Sender:
    """Remembers responses; complains about what Triton would not take."""

    def __init__(self) -> None:
        self.sent: list[InferenceResponse] = []
        self.finished = threading.Event()
        self.gone = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        assert not self.finished.is_set(), "sent after the final response"
        if response is not None:
            self.sent.append(response)
        if flags:
            self.finished.set()

    def is_cancelled(self) -> bool:
        assert not self.finished.is_set(), "asked after the final response"
        return self.gone

    @property
    def error(self) -> str | None:
        return next((str(r.error) for r in self.sent if r.error is not None), None)


class Request:
    """Inputs by name: arrays, or lists of bytes."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.sender = Sender()
        self._inputs = [
            Tensor(name, np.array(value, np.object_) if isinstance(value, list) else value)
            for name, value in inputs.items()
        ]

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def get_response_sender(self) -> Sender:
        return self.sender


class Metric:
    def __init__(self, labels, buckets=None) -> None:
        self.labels, self.buckets, self.value, self.seen = labels, buckets, 0.0, []

    def increment(self, amount: float) -> None:
        assert amount >= 0
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value

    def observe(self, value: float) -> None:
        assert self.buckets == sorted(self.buckets)
        self.seen.append(value)


class OldFamily:
    """Of a server without histograms."""

    COUNTER, GAUGE = "counter", "gauge"
    made: dict[str, "OldFamily"]

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.kind, self.metrics = kind, []
        self.made[name] = self

    def Metric(self, labels, **more) -> Metric:
        self.metrics.append(Metric(labels, **more))
        return self.metrics[-1]


def backend(*, histograms: bool = True) -> SimpleNamespace:
    """The module; its ``made`` holds the metric families by name."""
    made: dict[str, OldFamily] = {}
    kinds = {"HISTOGRAM": "histogram"} if histograms else {}
    family = type("MetricFamily", (OldFamily,), {"made": made, **kinds})
    return SimpleNamespace(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=InferenceResponse,
        MetricFamily=family,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=TRITONSERVER_RESPONSE_COMPLETE_FINAL,
        made=made,
    )
