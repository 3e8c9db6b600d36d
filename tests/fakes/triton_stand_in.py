"""A server that speaks Triton's protocols over real sockets, and has no engines.

What it answers is a function of the request: events to send, or an exception to raise. A
``VeraError`` becomes the error text of a Triton model, :class:`BreakOff` a connection that dies.
"""

import json
import mmap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from vera.case.case import Case, open_case
from vera.case.outcome import Outcome
from vera.check import Row
from vera.files.write import encode_png
from vera.report import BundleReport, CoverageReport, FaceReport, KeptReport, PhotoReport
from vera.wire import event as events
from vera.wire import failure
from vera.wire import request as requests
from vera.wire.event import Checked, Described, Done, Event, Progress, ResultEvent
from vera.wire.request import WireRequest
from vera.wire.server import ServedBundle, ServerContract
from vera.wire.tensors import MODEL

SERVER = ServerContract(
    ServedBundle("fake", "0", "ab" * 32, {"generator": "12" * 32, "guide": "34" * 32}),
    slots=2,
    queue=4,
    vera="0",
)
BUNDLE = BundleReport("fake", "0", {"generator": "12" * 6, "guide": "34" * 6})
ROWS = (Row("bundle", "fake 0"), Row("inversion", "as it should be"))


class BreakOff(Exception):
    """The connection dies in the middle; over gRPC with the status that is given, if one is."""


Answer = Callable[[WireRequest, threading.Event], Iterator[Event]]


def pretended(case: Case, people=None) -> list[Outcome]:
    """What a case without engines ends in: the upper two thirds change, the rest is kept."""
    words = [case.seed] if case.key is None else list(case.key.words())
    outcomes = []
    for variant in range(1, case.settings.variants + 1):
        random = np.random.default_rng([*words, variant, 0 if people is None else len(people)])
        person, changed = random.normal(size=8).astype(np.float32), random.integers(1, 256, 3)
        for number, photo in enumerate(case.photos, 1):
            report = PhotoReport(
                verdict="refused",
                mode="paired" if case.paired else "single",
                seed=case.seed,
                bundle=BUNDLE,
                keep=photo.regions,
                photo=number,
                variant=variant,
                variants=case.settings.variants,
                settings=case.settings.options(),
                versions={"vera": SERVER.vera},
                warnings=photo.warnings,
            )
            outcomes.append(_outcome(photo, report, person, changed.astype(np.uint8)))
    return outcomes


def _outcome(photo, report: PhotoReport, person, changed) -> Outcome:
    if photo.refusal is not None:
        told = replace(report, reason=photo.refusal.reason, message=str(photo.refusal))
        return Outcome(None, told)
    image = photo.image.copy()
    image[: image.shape[0] * 2 // 3] += changed
    if photo.mask is not None:
        image[photo.mask] = photo.image[photo.mask]
    coverage = CoverageReport(int((image != photo.image).any(axis=2).sum()), 0, 0.0)
    box = (image.shape[1], image.shape[0])
    face = FaceReport(box, 12.5, 0.1, 0.8, 1, True, limit=0.77, coverage=coverage)
    kept = KeptReport(0 if photo.mask is None else int(photo.mask.sum()), 0, outline=(((1, 2),),))
    told = replace(report, verdict="anonymized", faces=(face,), kept=kept)
    return Outcome(image, told, person)


def served(request: WireRequest, gone: threading.Event) -> Iterator[Event]:
    """A server that does everything well."""
    if request.progress:
        yield Progress("find", 0.1)
        yield Progress("invert", 0.5)
    case = open_case(
        [photo.image() for photo in request.photos],
        keep=[photo.kept() for photo in request.photos],
        seed=request.seed,
        settings=request.settings,
        key=request.key,
    )
    outcomes = pretended(case, request.people)
    for index, outcome in enumerate(outcomes):
        yield result_event(request, index, len(outcomes), outcome)
    yield Done(0.25, 1.5, 30)


class Counting:
    """Answers while it counts the cases in work; the first answer waits for ``until`` of them."""

    def __init__(self, until: int) -> None:
        self.until, self.reached = until, threading.Event()
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, request, gone):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now >= self.until:
                self.reached.set()
        self.reached.wait(5)
        gone.wait(0.02)
        yield from served(request, gone)
        with self.lock:
            self.now -= 1


def result_event(request: WireRequest, index: int, count: int, outcome: Outcome) -> ResultEvent:
    image = outcome.image
    if image is None:
        return ResultEvent(index, count, outcome.report)
    sent = image.tobytes() if request.images == "raw" else bytes(encode_png(image))
    person = outcome.person if request.persons else None
    return ResultEvent(index, count, outcome.report, sent, image.shape, person)


class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The server; a context manager, which ends it.

    Attributes:
        requests: As they came.
        sent: All bytes that came, one entry per request.
        metadata: Headers of each request, names in lower case.
        regions: Shared memory that is registered now.
        registered: What was in each region when it was registered.
        offered: How often a region was to be registered.
        ended: Set when a stream ended, however.
        broken: How many streams were ended by the client before their time.
    """

    def __init__(
        self,
        answer: Answer = served,
        *,
        server: ServerContract = SERVER,
        shares: bool = True,
        tls: SimpleNamespace | None = None,
    ) -> None:
        self.answer, self.server, self.shares, self._tls = answer, server, shares, tls
        self.requests: list[WireRequest] = []
        self.sent: list[bytes] = []
        self.metadata: list[dict[str, str]] = []
        self.regions: dict[str, mmap.mmap] = {}
        self.registered: list[bytes] = []
        self.offered = 0
        self.ended = threading.Event()
        self.broken = 0
        self.http_status: tuple[int, str] | None = None

    def __enter__(self) -> "StandIn":
        self._grpc = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._grpc)
        if self._tls is None:
            port = self._grpc.add_insecure_port("127.0.0.1:0")
        else:
            pair = (self._tls.key.read_bytes(), self._tls.cert.read_bytes())
            credentials = grpc.ssl_server_credentials([pair])
            port = self._grpc.add_secure_port("127.0.0.1:0", credentials)
        self._grpc.start()
        scheme, host = ("grpc", "127.0.0.1") if self._tls is None else ("grpcs", "localhost")
        self.grpc_url = f"{scheme}://{host}:{port}"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        if self._tls is not None:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls.cert, self._tls.key)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        scheme = "http" if self._tls is None else "https"
        self.http_url = f"{scheme}://{host}:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def cases(self) -> list[WireRequest]:
        """The requests that were cases."""
        return [request for request in self.requests if request.task == "anonymize"]

    def events(self, tensors, gone: threading.Event) -> Iterator[Event]:
        """What a request is answered."""
        request = requests.from_tensors(tensors)
        self.requests.append(request)
        if request.task == "describe":
            yield Described(self.server)
            yield Done()
        elif request.task == "check":
            yield Checked(ROWS)
            yield Done()
        else:
            yield from self.answer(request, gone)

    # The methods of the KServe protocol, by their names there.

    def ModelStreamInfer(self, request_iterator, context):
        gone, finished = threading.Event(), False
        context.add_callback(gone.set)
        self.metadata.append({k: v for k, v in context.invocation_metadata()})
        try:
            for message in request_iterator:
                assert message.model_name == MODEL
                self.sent.append(message.SerializeToString())
                for event in self.events(self._tensors(message), gone):
                    yield service_pb2.ModelStreamInferResponse(infer_response=_answer(event))
            finished = True
        except BreakOff as error:
            finished = True
            (code,) = error.args or (grpc.StatusCode.UNAVAILABLE,)
            context.abort(code, "the server is gone")
        except Exception as error:
            finished = True
            yield service_pb2.ModelStreamInferResponse(error_message=failure.to_text(error))
        finally:
            self.broken += not finished
            self.ended.set()

    def SystemSharedMemoryRegister(self, request, context):
        self.offered += 1
        if not self.shares:
            restricted = "This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
            context.abort(grpc.StatusCode.UNAVAILABLE, restricted)
        with (Path("/dev/shm") / request.key.lstrip("/")).open("r+b") as file:
            self.regions[request.name] = mmap.mmap(file.fileno(), request.byte_size)
        self.registered.append(self.regions[request.name][:])
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request, context):
        self.regions.pop(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def _tensors(self, message) -> dict:
        raw, tensors = iter(message.raw_input_contents), {}
        for entry in message.inputs:
            name = entry.parameters["shared_memory_region"].string_param
            if name:
                size = entry.parameters["shared_memory_byte_size"].int64_param
                content = self.regions[name][:size]
            else:
                content = next(raw)
            if entry.datatype == "BYTES":
                tensors[entry.name] = _unpacked(content)
                assert list(entry.shape) == [len(tensors[entry.name])]
            else:
                tensors[entry.name] = np.frombuffer(content, np.float32).reshape(entry.shape)
        return tensors


def _unpacked(content: bytes) -> list[bytes]:
    elements = []
    while content:
        length = int.from_bytes(content[:4], "little")
        elements.append(content[4 : 4 + length])
        content = content[4 + length :]
    return elements


def _answer(event: Event):
    response = service_pb2.ModelInferResponse(model_name=MODEL, model_version="1")
    for name, value in events.to_tensors(event).items():
        if isinstance(value, list):
            response.outputs.add(name=name, datatype="BYTES", shape=[1])
            content = len(value[0]).to_bytes(4, "little") + value[0]
        else:
            response.outputs.add(name=name, datatype="FP32", shape=value.shape)
            content = value.tobytes()
        response.raw_output_contents.append(content)
    return response


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *message: object) -> None:
            """Nothing is logged."""

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            stand_in.sent.append(content)
            stand_in.metadata.append({k.lower(): v for k, v in self.headers.items()})
            if stand_in.http_status is not None:
                status, text = stand_in.http_status
                self._begin(status)
                self.wfile.write(text.encode())
                return
            assert self.path == f"/v2/models/{MODEL}/generate_stream"
            told = json.loads(content)
            tensors = {
                name: np.array(value, np.float32)[None]
                if name == "PEOPLE"
                else [text.encode() for text in (value if isinstance(value, list) else [value])]
                for name, value in told.items()
            }
            gone, finished, begun = threading.Event(), False, False
            try:
                for event in stand_in.events(tensors, gone):
                    if not begun:
                        self._begin(200)
                    begun = True
                    self._tell(
                        {
                            name: value[0].decode() if isinstance(value, list) else value.tolist()
                            for name, value in events.to_tensors(event, base64=True).items()
                        }
                    )
                finished = True
            except BreakOff:
                finished = True
            except OSError:  # the client left
                gone.set()
            except Exception as error:
                finished = True
                if not begun:  # as Triton does, whatever the error's own status
                    self._begin(400)
                self._tell({"error": failure.to_text(error)})
            finally:
                stand_in.broken += not finished
                stand_in.ended.set()

        def _begin(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()

        def _tell(self, told: dict) -> None:
            self.wfile.write(b"data: " + json.dumps(told).encode() + b"\n\n")
            self.wfile.flush()

    return Handler
