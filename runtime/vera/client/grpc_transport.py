"""Requests over gRPC: one stream per case, by the stubs of the KServe protocol."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from vera.client.answers import MOST_BYTES, largest_answer
from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.client.ending import async_events_to_the_end, events_to_the_end
from vera.client.failures import is_restricted, of_rpc
from vera.client.grpc_messages import event_of, infer_request, packed
from vera.client.shared_memory import Region, shared
from vera.errors import UsageError
from vera.wire import request as requests
from vera.wire.event import Event
from vera.wire.request import WireRequest
from vera.wire.tensors import Tensors

if TYPE_CHECKING:
    import grpc

# Below this, registering a region costs more than it spares.
_SHARED_FROM = 1_000_000  # bytes

# Triton counts pings that come more often than every 300 s as an attack (its default).
_KEEPALIVE_MS = 310_000
_KEEPALIVE_ANSWER_MS = 20_000
_RECONNECT_MS = (500, 5_000)


class GrpcTransport:
    """Streams over one channel."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet."""
        import grpc
        from tritonclient.grpc import service_pb2_grpc

        self._connection = connection
        target, options = connection.target, _options(connection)
        if connection.secure:
            self._channel = grpc.secure_channel(target, _credentials(connection), options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._sharing = connection.local and connection.shared_memory == "auto"

    def exchange(
        self, request: WireRequest, timeout_s: float | None, cancel: Cancellation
    ) -> Generator[Event, None, None]:
        """See :class:`vera.client.transport.Transport`."""
        import grpc

        tensors = requests.to_tensors(request)
        with self._shared(request, tensors) as region:
            sent = infer_request(tensors, region)
            # The iterator's end closes the client's half: a server that drains need not wait.
            call = self._stub.ModelStreamInfer(
                iter((sent,)), timeout=timeout_s, metadata=_metadata(self._connection)
            )
            try:
                with cancel.breaking(call.cancel):
                    yield from events_to_the_end(call, _reader(request), call.cancel)
            except grpc.RpcError as error:
                cancel.check()
                raise of_rpc(error, self._connection.url) from error
            finally:
                call.cancel()

    def close(self) -> None:
        """See :class:`vera.client.transport.Transport`."""
        self._channel.close()

    @contextmanager
    def _shared(self, request: WireRequest, tensors: Tensors) -> Iterator[Region | None]:
        """The region that holds the photographs, if they are large and the server takes it."""
        raw = sum(len(photo.data) for photo in request.photos if photo.shape is not None)
        photos = tensors.get("PHOTOS")
        if not self._sharing or raw < _SHARED_FROM or not isinstance(photos, list):
            yield None
            return
        pieces = packed(photos)
        with shared(sum(map(len, pieces))) as region:
            if region is None or not self._registered(region):
                yield None
                return
            region.unlink()  # the server holds it: even a kill leaves no photograph behind a name
            try:
                region.write(pieces)
                yield region
            finally:
                self._unregister(region)

    def _registered(self, region: Region) -> bool:
        import grpc
        from tritonclient.grpc import service_pb2

        message = service_pb2.SystemSharedMemoryRegisterRequest(
            name=region.name, key=region.key, offset=0, byte_size=region.size
        )
        try:
            self._stub.SystemSharedMemoryRegister(message, **self._short())
        except grpc.RpcError as error:
            passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            if is_restricted(error) or error.code() not in passing:
                self._sharing = False  # another machine behind this port, or it is forbidden
            return False
        return True

    def _unregister(self, region: Region) -> None:
        import grpc
        from tritonclient.grpc import service_pb2

        message = service_pb2.SystemSharedMemoryUnregisterRequest(name=region.name)
        try:
            self._stub.SystemSharedMemoryUnregister(message, **self._short())
        except (grpc.RpcError, ValueError):  # the server, or the channel, is gone
            return

    def _short(self) -> dict[str, Any]:
        timeout = self._connection.connect_timeout_s
        return {"timeout": timeout, "metadata": _metadata(self._connection)}


class AsyncGrpcTransport:
    """The same for coroutines; without shared memory, whose calls would hold up the loop."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet."""
        import grpc.aio
        from tritonclient.grpc import service_pb2_grpc

        self._connection = connection
        target, options = connection.target, _options(connection)
        if connection.secure:
            self._channel = grpc.aio.secure_channel(target, _credentials(connection), options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def exchange(
        self, request: WireRequest, timeout_s: float | None
    ) -> AsyncGenerator[Event, None]:
        """See :class:`vera.client.transport.AsyncTransport`."""
        import grpc

        sent = infer_request(requests.to_tensors(request))
        call = self._stub.ModelStreamInfer(
            iter((sent,)), timeout=timeout_s, metadata=_metadata(self._connection)
        )
        try:
            async for event in async_events_to_the_end(call, _reader(request)):
                yield event
        except grpc.RpcError as error:
            raise of_rpc(error, self._connection.url) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """See :class:`vera.client.transport.AsyncTransport`."""
        await self._channel.close()


def _reader(request: WireRequest) -> Callable[[Any], Event | None]:
    return partial(event_of, most=largest_answer(request, as_text=False))


def _options(connection: Connection) -> list[tuple[str, Any]]:
    connect_ms = int(connection.connect_timeout_s * 1000)
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_ANSWER_MS),
        ("grpc.min_reconnect_backoff_ms", connect_ms),  # how long one attempt to connect may take
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS[0]),
        ("grpc.max_reconnect_backoff_ms", max(_RECONNECT_MS[1], connect_ms)),
        ("grpc.enable_http_proxy", 0),  # photographs go where they are told to and nowhere else
        ("grpc.enable_retries", 0),  # a case is repeated as a whole, by vera.client.retrying
    ]


def _metadata(connection: Connection) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in connection.headers]


def _credentials(connection: Connection) -> "grpc.ChannelCredentials":
    import grpc

    files = (connection.ca_file, connection.key_file, connection.cert_file)
    try:
        return grpc.ssl_channel_credentials(
            *(None if file is None else file.read_bytes() for file in files)
        )
    except OSError as error:
        raise UsageError(
            f"A certificate or key cannot be read ({error.strerror}); check the paths."
        ) from error
