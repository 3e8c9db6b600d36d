"""Tensors as the JSON of Triton's generate extension, and the events in its answers.

JSON holds no bytes, so photographs, masks and images are base64 text in it.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from vera.client.failures import misfit, told
from vera.errors import ServerError
from vera.wire import event as events
from vera.wire.event import Event
from vera.wire.tensors import MODEL, OUTPUTS, Tensors

PATH = f"/v2/models/{MODEL}/generate_stream"

_DATA = b"data:"
_PAGE_BYTES = 65_536
_OUTPUTS = frozenset(tensor.name for tensor in OUTPUTS)


def body(tensors: Tensors) -> bytes:
    """The body of a request whose bytes are base64 text already."""
    told_tensors: dict[str, Any] = {}
    for name, value in tensors.items():
        if isinstance(value, list):
            told_tensors[name] = [element.decode() for element in value]
        else:
            told_tensors[name] = [float(number) for number in value.reshape(-1)]
    told_tensors["OPTIONS"] = told_tensors["OPTIONS"][0]
    return json.dumps(told_tensors, allow_nan=False).encode()


class Lines:
    """Server-sent events, put together from the pieces in which they come."""

    def __init__(self, most: int) -> None:
        """Nothing has come yet; a line may have ``most`` bytes."""
        self._open: list[bytes] = []
        self._size, self._most = 0, most

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The content of each ``data`` line that ends in this piece.

        Raises:
            MisfitError: A line goes on and on.
        """
        *ended, rest = piece.split(b"\n")
        for line in ended:
            whole = b"".join((*self._open, line))
            self._open.clear()
            self._size = 0
            if whole.startswith(_DATA):
                yield whole[len(_DATA) :].strip()
        if rest:
            self._open.append(rest)
            self._size += len(rest)
            if self._size > self._most:
                raise misfit("more than an answer can be")


class Page:
    """The beginning of an answer that is no stream of events; the rest of it is not of interest."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.content = b""

    def is_full_with(self, piece: bytes) -> bool:
        """Take a piece; whether there is room for no more."""
        self.content = (self.content + piece)[:_PAGE_BYTES]
        return len(self.content) == _PAGE_BYTES


def event_of(data: bytes) -> Event | None:
    """The event in a ``data`` line; None for one without outputs.

    Raises:
        VeraError: It is an error.
        ServerError: It is not understood.
        MisfitError: A tensor is not what it should be.
    """
    try:
        answer = json.loads(data)
        error = answer.get("error")
    except (ValueError, AttributeError, RecursionError) as wrong:
        raise ServerError(
            "The server sent what is no event; check that the address is that of a Triton server."
        ) from wrong
    if error is not None:
        raise told(str(error))
    if "EVENT" not in answer:
        return None
    try:
        tensors = {name: _tensor(value) for name, value in answer.items() if name in _OUTPUTS}
    except (AttributeError, TypeError, ValueError, ArithmeticError) as wrong:
        raise misfit("a tensor that is none") from wrong
    return events.from_tensors(tensors, base64=True)


def _tensor(value: Any) -> Any:
    """A tensor of one element comes without its brackets."""
    values = value if isinstance(value, list) else [value]
    if values and isinstance(values[0], str):
        return [text.encode() for text in values]
    return np.asarray(values, np.float32)
