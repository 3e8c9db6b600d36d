"""Connections of clients that stop halfway: plain sockets with no library between."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

PATH = "/v2/models/anonymize/generate_stream"
_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _END_OF_HEADERS = 0, 1, 4, 4  # types of frames, and a flag


@contextmanager
def connected(port: int, sent: bytes, *, room: int | None = None) -> Iterator[socket.socket]:
    """A connection on which something was sent and nothing is ever read.

    Args:
        port: On this machine.
        sent: Bytes.
        room: Of the buffer of what arrives, so that the sender soon cannot go on.
    """
    with socket.socket() as made:
        if room is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        made.connect(("127.0.0.1", port))
        made.sendall(sent)
        yield made


def http_request(body: bytes, length: int | None = None) -> bytes:
    """A request that says its body is ``length`` bytes long."""
    size = len(body) if length is None else length
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def grpc_request(message: bytes, length: int | None = None) -> bytes:
    """A stream with one message that says it is ``length`` bytes long."""
    size = len(message) if length is None else length
    # HPACK: two entries of the static table, then literals that are not indexed.
    block = b"\x83\x86" + b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b":path", _METHOD.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    data = b"\x00" + size.to_bytes(4, "big") + message
    frames = (_SETTINGS, 0, 0, b""), (_HEADERS, _END_OF_HEADERS, 1, block), (_DATA, 0, 1, data)
    return _PREFACE + b"".join(
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
        for kind, flags, stream, payload in frames
    )
