"""What carries a request to a server and its events back: gRPC or HTTP."""

from collections.abc import AsyncGenerator, Generator
from importlib import import_module
from typing import Protocol

from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.errors import UsageError
from vera.wire.event import Event
from vera.wire.request import WireRequest


class Transport(Protocol):
    """Carries requests; may be used by several threads at once."""

    def exchange(
        self, request: WireRequest, timeout_s: float | None, cancel: Cancellation
    ) -> Generator[Event, None, None]:
        """The events of a request.

        The stream is closed when the iterator ends, fails or is closed.

        Raises:
            VeraError: The server told an error, or the way to it broke.
        """

    def close(self) -> None:
        """Break off all that runs."""


class AsyncTransport(Protocol):
    """Carries requests for coroutines of one event loop."""

    def exchange(
        self, request: WireRequest, timeout_s: float | None
    ) -> AsyncGenerator[Event, None]:
        """See :meth:`Transport.exchange`; a cancelled task closes its stream."""

    async def close(self) -> None:
        """Break off all that runs."""


def opened(connection: Connection) -> Transport:
    """The transport of an address.

    Raises:
        UsageError: A library for it is not installed.
    """
    _require(connection)
    if connection.over_http:
        from vera.client.http_transport import HttpTransport

        return HttpTransport(connection)
    from vera.client.grpc_transport import GrpcTransport

    return GrpcTransport(connection)


def async_opened(connection: Connection) -> AsyncTransport:
    """The transport of an address, for coroutines.

    Raises:
        UsageError: A library for it is not installed.
    """
    _require(connection)
    if connection.over_http:
        from vera.client.http_transport import AsyncHttpTransport

        return AsyncHttpTransport(connection)
    from vera.client.grpc_transport import AsyncGrpcTransport

    return AsyncGrpcTransport(connection)


def _require(connection: Connection) -> None:
    for name in ("tenacity", "httpx" if connection.over_http else "tritonclient.grpc"):
        try:
            import_module(name)
        except ImportError as error:
            raise UsageError(
                f"A server cannot be asked without {error.name or name}, which is missing; run: "
                'pip install "vera[client]"'
            ) from error
