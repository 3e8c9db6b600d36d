"""The way back to one client: events, then one end, then nothing."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from vera.serving.limits import check_count
from vera.wire.failure import code_of, to_text
from vera.wire.server import Limits
from vera.wire.tensors import Tensors

# ``triton_python_backend_utils``; only Triton's own processes have it.
BackendUtils = Any


def received(request: Any, limits: Limits) -> Tensors:
    """The inputs of a request, copied: Triton takes its memory back when the request ends.

    Raises:
        UsageError: There are more photographs or masks than ``limits`` allow; nothing was copied
            of them.
    """
    tensors: dict[str, list[bytes] | npt.NDArray[np.float32]] = {}
    for tensor in request.inputs():
        value = tensor.as_numpy()
        if value.dtype == np.object_:
            check_count(tensor.name(), value.size, limits)
            tensors[tensor.name()] = [bytes(item) for item in value.reshape(-1)]
        else:
            tensors[tensor.name()] = np.array(value)
    return tensors


class Responder:
    """Sends the responses of one request; may be called from any thread.

    A client that is gone takes whatever is sent. After the end every call does nothing, and the
    sender is let go: Triton ends a request only when nobody holds it.
    """

    def __init__(self, utils: BackendUtils, request: Any) -> None:
        """Takes the sender of a request of a decoupled model."""
        self._utils = utils
        self._sender: Any = request.get_response_sender()
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Whether the client no longer waits for an end that is still to come."""
        with self._lock:
            return self._sender is not None and bool(self._sender.is_cancelled())

    def send(self, tensors: Tensors) -> None:
        """Sends an event."""
        made = [
            self._utils.Tensor(name, np.array(value, np.object_) if _texts(value) else value)
            for name, value in tensors.items()
        ]
        with self._lock:
            if self._sender is not None:
                self._sender.send(self._utils.InferenceResponse(output_tensors=made))

    def end(self, error: Exception | None = None) -> None:
        """Ends the stream; with an error, the client gets it as text."""
        final = self._utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        with self._lock:
            sender, self._sender = self._sender, None
            if sender is None:
                return
            if error is None:
                sender.send(flags=final)
                return
            told = self._utils.TritonError(
                to_text(error), getattr(self._utils.TritonError, code_of(error))
            )
            sender.send(self._utils.InferenceResponse(error=told), flags=final)


def _texts(value: object) -> bool:
    return isinstance(value, list)
