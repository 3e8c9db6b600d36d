"""The wire contract over the plain stubs of tritonclient, with nothing of vera.client between."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as services

from vera.wire import event as events
from vera.wire import failure
from vera.wire import request as requests

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Answer:
    """What came back.

    Attributes:
        events: In order.
        error: Text of the stream's error, or None.
    """

    events: list[Any] = field(default_factory=list)
    error: str | None = None

    @property
    def failure(self) -> Exception:
        assert self.error is not None, self.events
        return failure.from_text(self.error)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class PlainClient:
    """Sends requests to one server."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = services.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def stream(self, tensors: dict[str, Any], timeout: float = 60) -> Any:
        """The open stream of a request, to be read to its end."""
        message = infer_request("anonymize", tensors)
        message.parameters["triton_enable_empty_final_response"].bool_param = True
        return self._stub.ModelStreamInfer(iter([message]), timeout=timeout)

    @contextmanager
    def abandoned(self, tensors: dict[str, Any], timeout: float = 60) -> Iterator[Any]:
        """The open stream of a request that is cancelled when it is left.

        Not for one that has ended: Triton 2.51 loses a request whose stream is cancelled just after
        its final response, and does not stop for it.
        """
        stream = self.stream(tensors, timeout)
        try:
            yield stream
        finally:
            stream.cancel()

    def ask(self, request: requests.WireRequest, timeout: float = 60) -> Answer:
        return self.send(requests.to_tensors(request), timeout)

    def send(self, tensors: dict[str, Any], timeout: float = 60) -> Answer:
        """Everything until the server closes the stream after the final response."""
        answer = Answer()
        ended = [read(response, answer) for response in self.stream(tensors, timeout)]
        assert ended[-1:] == [True], "the stream ended without a final response"
        assert not any(ended[:-1])
        return answer

    def infer(self, model: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One answer of a model that is not decoupled."""
        answer = self._stub.ModelInfer(infer_request(model, tensors), timeout=60)
        return {
            output.name: np.frombuffer(raw, np.float32).reshape(output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }


def read(response: Any, answer: Answer) -> bool:
    """Adds a response to an answer; whether it was the final one."""
    if response.error_message:
        answer.error = response.error_message
        return True
    inner = response.infer_response
    if inner.outputs:
        answer.events.append(events.from_tensors(outputs(inner)))
    return bool(inner.parameters["triton_final_response"].bool_param)


def outputs(inner: Any) -> dict[str, Any]:
    """The output tensors of a response by name."""
    return {
        output.name: _texts(raw) if output.datatype == "BYTES" else np.frombuffer(raw, np.float32)
        for output, raw in zip(inner.outputs, inner.raw_output_contents, strict=True)
    }


def infer_request(model: str, tensors: dict[str, Any]) -> Any:
    message = messages.ModelInferRequest(model_name=model)
    for name, value in tensors.items():
        if isinstance(value, np.ndarray):
            message.inputs.add(name=name, datatype="FP32", shape=value.shape)
            message.raw_input_contents.append(np.ascontiguousarray(value, np.float32).tobytes())
        else:
            message.inputs.add(name=name, datatype="BYTES", shape=[len(value)])
            message.raw_input_contents.append(_packed(value))
    return message


def _packed(items: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _texts(raw: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(raw):
        (size,) = struct.unpack_from("<I", raw, place)
        found.append(raw[place + 4 : place + 4 + size])
        place += 4 + size
    return found
