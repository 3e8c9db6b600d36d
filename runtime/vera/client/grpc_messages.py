"""Tensors as messages of the KServe protocol, and the events in its answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vera.client.failures import misfit, told
from vera.client.shared_memory import Region
from vera.wire import event as events
from vera.wire.event import Event
from vera.wire.tensors import INPUTS, MODEL, PHOTOS, Tensors

_LENGTH_BYTES = 4  # before each element of a BYTES tensor, little-endian


def packed(elements: list[bytes]) -> list[bytes]:
    """A BYTES tensor as it travels, in pieces: the length of each element, then the element."""
    pieces = []
    for element in elements:
        pieces += [len(element).to_bytes(_LENGTH_BYTES, "little"), element]
    return pieces


def unpacked(content: bytes) -> list[bytes]:
    """The elements of a BYTES tensor.

    Raises:
        ValueError: It is cut short.
    """
    elements, place = [], 0
    while place < len(content):
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(content[place:start], "little")
        if place > len(content):
            raise ValueError("a BYTES tensor is cut short")
        elements.append(content[start:place])
    return elements


def infer_request(tensors: Tensors, region: Region | None = None) -> Any:
    """The ``ModelInferRequest`` of these tensors.

    Args:
        tensors: Inputs by name.
        region: Holds the packed PHOTOS already; None sends them in the message.
    """
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=MODEL)
    for spec in INPUTS:
        value = tensors.get(spec.name)
        if value is None:
            continue
        shape = [len(value)] if isinstance(value, list) else value.shape
        entry = request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        if region is not None and spec is PHOTOS:
            entry.parameters["shared_memory_region"].string_param = region.name
            entry.parameters["shared_memory_byte_size"].int64_param = region.size
        else:
            sent = b"".join(packed(value)) if isinstance(value, list) else value.tobytes()
            request.raw_input_contents.append(sent)
    return request


def event_of(answer: Any, most: int) -> Event | None:
    """The event in a ``ModelStreamInferResponse``; None for one without outputs, as a last one is.

    Args:
        answer: As it came.
        most: Bytes that it may have.

    Raises:
        VeraError: The answer is an error.
        ServerError: The answer is not understood.
        MisfitError: It is too large.
    """
    if answer.ByteSize() > most:
        raise misfit("more than an answer can be")
    if answer.error_message:
        raise told(answer.error_message)
    response = answer.infer_response
    if not response.outputs:
        return None
    return events.from_tensors(_outputs(response))


def _outputs(response: Any) -> Mapping[str, Any]:
    tensors: dict[str, Any] = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.datatype == "BYTES":
            try:
                tensors[output.name] = unpacked(content)
            except ValueError:  # an event without its tensor is not understood, and says so
                continue
        elif output.datatype == "FP32" and len(content) % 4 == 0:
            tensors[output.name] = np.frombuffer(content, "<f4").reshape(-1)
    return tensors
