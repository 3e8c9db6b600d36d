"""Requests over HTTP: one POST per case, answered by server-sent events."""

import socket
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from vera.client.answers import largest_answer
from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.client.ending import async_events_to_the_end, events_to_the_end
from vera.client.failures import of_http, of_status
from vera.client.http_messages import PATH, Lines, Page, body, event_of
from vera.errors import UsageError
from vera.wire import request as requests
from vera.wire.event import Event
from vera.wire.request import WireRequest

if TYPE_CHECKING:
    import ssl


# A connection that died without a word is found out by the system within minutes.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
]
# Compressed events could expand beyond what may come; they are read as they are.
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}


class HttpTransport:
    """A connection for each case: only so can a case be broken off that has no answer yet."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet."""
        self._connection = connection
        self._tls = _tls(connection)

    def exchange(
        self, request: WireRequest, timeout_s: float | None, cancel: Cancellation
    ) -> Generator[Event, None, None]:
        """See :class:`vera.client.transport.Transport`."""
        import httpx

        lines, line = Lines(largest_answer(request, as_text=True)), _Line()
        options = _options(self._connection, request, timeout_s)
        options["extensions"] = {"trace": line.trace}
        transport = httpx.HTTPTransport(verify=self._tls, socket_options=_KEEPALIVE)
        # No proxy of the environment: photographs go where they are told to and nowhere else.
        with cancel.breaking(line.cut), httpx.Client(transport=transport, trust_env=False) as http:
            try:
                with http.stream("POST", **options) as response:
                    if response.status_code != httpx.codes.OK:
                        page = Page()
                        any(map(page.is_full_with, response.iter_raw()))
                        raise of_status(response.status_code, page.content, self._connection.url)
                    pieces = map(lines.feed, response.iter_raw())
                    yield from events_to_the_end(chain.from_iterable(pieces), event_of, line.cut)
            except (httpx.HTTPError, OSError) as error:
                cancel.check()
                raise of_http(error, self._connection.url) from _without_request(error)
            cancel.check()

    def close(self) -> None:
        """Nothing is open between cases."""


class _Line:
    """The socket of one case, which another thread may cut."""

    def __init__(self) -> None:
        """Not connected yet."""
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hears from httpx when a connection is there, and again when it is encrypted."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._is_cut:
                    self._shut()

    def cut(self) -> None:
        """End the connection, now or as soon as it is there."""
        with self._lock:
            self._is_cut = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # Closing alone would not wake the thread that reads.
                self._socket.shutdown(socket.SHUT_RDWR)


class AsyncHttpTransport:
    """The same for coroutines."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet."""
        import httpx

        self._connection = connection
        transport = httpx.AsyncHTTPTransport(
            verify=_tls(connection),
            socket_options=_KEEPALIVE,
            # As many streams as there are cases in work.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
        )
        self._client = httpx.AsyncClient(transport=transport, trust_env=False)

    async def exchange(
        self, request: WireRequest, timeout_s: float | None
    ) -> AsyncGenerator[Event, None]:
        """See :class:`vera.client.transport.AsyncTransport`."""
        import httpx

        lines, url = Lines(largest_answer(request, as_text=True)), self._connection.url
        options = _options(self._connection, request, timeout_s)
        try:
            async with self._client.stream("POST", **options) as response:
                if response.status_code != httpx.codes.OK:
                    page = Page()
                    async for piece in response.aiter_raw():
                        if page.is_full_with(piece):
                            break
                    raise of_status(response.status_code, page.content, url)
                told = (data async for piece in response.aiter_raw() for data in lines.feed(piece))
                async for event in async_events_to_the_end(told, event_of):
                    yield event
        except (httpx.HTTPError, OSError) as error:
            raise of_http(error, url) from _without_request(error)

    async def close(self) -> None:
        """See :class:`vera.client.transport.AsyncTransport`."""
        await self._client.aclose()


def _options(
    connection: Connection, request: WireRequest, timeout_s: float | None
) -> dict[str, Any]:
    import httpx

    as_text = requests.to_tensors(replace(request, base64=True))
    return {
        "url": connection.base + PATH,
        "content": body(as_text),
        "headers": [*_HEADERS.items(), *connection.headers],
        "timeout": httpx.Timeout(timeout_s, connect=_least(connection, timeout_s)),
    }


def _without_request(error: Exception) -> Exception:
    """An error of httpx holds its request, and that the photographs."""
    import httpx

    if isinstance(error, httpx.HTTPError):
        error.request = httpx.Request("POST", PATH)
    return error


def _least(connection: Connection, timeout_s: float | None) -> float:
    seconds = connection.connect_timeout_s
    return seconds if timeout_s is None else min(seconds, timeout_s)


def _tls(connection: Connection) -> "ssl.SSLContext | bool":
    import ssl

    if not connection.secure:
        return False
    try:
        context = ssl.create_default_context(cafile=connection.ca_file)
        if connection.cert_file is not None:
            context.load_cert_chain(connection.cert_file, connection.key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(
            f"A certificate or key cannot be read ({type(error).__name__}); check the paths, and "
            "that they are PEM files."
        ) from error
    return context
