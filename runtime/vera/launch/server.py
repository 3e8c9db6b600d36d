"""A server started and waited for, watched, drained and stopped."""

import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from vera.errors import CancelledError, ServerError
from vera.launch import memory
from vera.launch.drain import cases_left
from vera.launch.fetch import fetch
from vera.launch.log import reason
from vera.launch.options import ServeOptions
from vera.launch.ports import Ports, bracketed, choose_ports
from vera.launch.program import Program, find_program
from vera.launch.repository import check_repository
from vera.launch.watch import Watch, describes_itself
from vera.launch.workplace import CORE_BYTES, Workplace, prepare
from vera.wire.tensors import MODEL

_POLL_S = 0.05
_DRAIN_POLL_S = 0.5
# How often new shared memory is looked for: a version of Triton that starts a model again after a
# crash (2.51 does not) makes some, long before the model has opened its networks.
_MEMORY_POLL_S = 0.1
_LOG_LINES = 200
# Measured with 2.51: an open stream keeps it for its whole time for draining and 35 s more.
_SETTLE_S = 5.0
_KILL_AFTER_S = 10.0

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Urls:
    """Where a server is."""

    grpc: str
    http: str
    metrics: str


class RunningServer:
    """A server that is ready; as a context manager it is stopped at the end.

    Attributes:
        urls: Where it is.
        version: Of tritonserver.
        pid: Of its process.
        kind: Where the server comes from.
    """

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        workplace: Workplace,
        urls: Urls,
        kind: str,
        drain_seconds: float,
        log: Log | None,
    ) -> None:
        """Made by :func:`start`, which also waits until it is ready."""
        self.urls, self.kind, self.pid, self.version = urls, kind, process.pid, ""
        self._process, self._workplace, self._drain_seconds = process, workplace, drain_seconds
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._reader = threading.Thread(
            target=self._read, args=(log,), name="vera-serve-log", daemon=True
        )
        self._ended = threading.Event()
        self._watch: Watch | None = None
        self._reader.start()
        threading.Thread(target=self._keep_shut, name="vera-serve-memory", daemon=True).start()

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code when it has ended, None if it still runs after ``timeout`` seconds."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        with suppress(ProcessLookupError):  # Python models that outlive their server
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join(_KILL_AFTER_S)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        self._workplace.clear()
        return code

    def stop(self, *, settle_s: float = _SETTLE_S, kill_after_s: float = _KILL_AFTER_S) -> bool:
        """Takes no new work, waits for cases in work, and ends the server.

        Args:
            settle_s: Without a case left, so long clients may take to read their last answer: one
                that holds its stream open keeps Triton from ending long after the last case.
            kill_after_s: After the time for draining, so long the server may take to end.

        Returns:
            Whether no case was lost; else the server was killed after its time for draining.
        """
        if self._watch is not None:
            self._watch.close()
        if self._process.poll() is None:
            self._process.terminate()
        deadline = time.monotonic() + self._drain_seconds + kill_after_s
        idle_since = None
        while (now := time.monotonic()) < deadline:
            if self.wait(_DRAIN_POLL_S) is not None:
                return True
            if cases_left(fetch(self.urls.metrics)) != 0:
                idle_since = None
            elif now - (idle_since := idle_since or now) > settle_s:
                self.kill()
                return True
        self.kill()
        return False

    def kill(self) -> None:
        """Ends it at once; cases in work are lost."""
        if self._workplace.killing:
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    self._workplace.killing, capture_output=True, timeout=30, check=False
                )
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its Python models as well
        self.wait(_KILL_AFTER_S)

    def watch_model(self) -> None:
        """From now on, until it is stopped, find out whether its model answers; see `lost`."""
        self._watch = Watch(partial(describes_itself, self.urls.http))

    @property
    def lost(self) -> bool:
        """Whether its model was found to answer no more, although the server still runs."""
        return self._watch is not None and self._watch.lost.is_set()

    def said(self) -> str:
        """What its log says went wrong, or its last lines, in one line."""
        return reason(self._lines)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it."""
        self.stop()

    def shut_memory(self) -> None:
        """Takes the memory between server and models from other users; done again and again."""
        memory.shut(self._workplace.shm_prefix)

    def _keep_shut(self) -> None:
        while not self._ended.wait(_MEMORY_POLL_S):
            self.shut_memory()

    def _read(self, log: Log | None) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line.rstrip("\n"))
            if log is not None:
                with suppress(OSError, ValueError):  # whoever reads has gone; the server goes on
                    log(line.rstrip("\n"))
        self._ended.set()  # and its models, which write to the same log


def start(
    repository: Path,
    options: ServeOptions,
    *,
    log: Log | None = None,
    stopping: threading.Event | None = None,
) -> RunningServer:
    """Serves a model repository; returns when all its models are ready.

    Args:
        repository: Written by ``vera-export repository``.
        options: How.
        log: Called with each line of the server's log, in another thread.
        stopping: When set, starting is given up.

    Raises:
        BundleError: The repository is none of this version, changed, or not complete.
        UsageError: A port is taken, or a file of the options cannot be read.
        ServerError: There is no server, or it did not get ready.
        CancelledError: ``stopping`` was set.
    """
    mark = check_repository(repository)
    program = find_program(options)
    if program.kind == "bundled" and mark.backend != "python":
        raise ServerError(
            f"The server in nvidia-pytriton has the Python back end only, the repository is for "
            f"{mark.backend}; render it with --backend python, or use NVIDIA's container."
        )
    ports = choose_ports(options)
    memory.remove_leftovers()
    workplace = prepare(repository.absolute(), options, program, ports)
    server = _launch(workplace, options, ports, program, log)
    try:
        _forbid_core_dumps(server.pid)
        _wait_until_ready(server, options.start_seconds, stopping)
        server.shut_memory()
    except BaseException:
        server.kill()
        raise
    if (repository / MODEL).is_dir():  # else there are only engines in it
        server.watch_model()
    return server


def _launch(
    workplace: Workplace, options: ServeOptions, ports: Ports, program: Program, log: Log | None
) -> RunningServer:
    try:
        process = subprocess.Popen(
            workplace.command,
            env=dict(workplace.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches whoever drains it, and not the server
        )
    except OSError as error:
        workplace.clear()
        raise ServerError(
            f"The server cannot be started ({error.strerror}); see whether its --help runs."
        ) from error
    urls = _urls(options, ports)
    return RunningServer(process, workplace, urls, program.kind, options.drain_seconds, log)


def _forbid_core_dumps(process: int) -> None:
    """Of a server that has just begun, and so of the models' processes that it starts.

    Not done between fork and exec: other threads make Python code unsafe there.
    """
    with suppress(ProcessLookupError):  # it has ended already, and is told about elsewhere
        _, most = resource.prlimit(process, resource.RLIMIT_CORE)
        limit = min(most, CORE_BYTES) if most >= 0 else CORE_BYTES  # below 0: without limit
        resource.prlimit(process, resource.RLIMIT_CORE, (limit, limit))


def _urls(options: ServeOptions, ports: Ports) -> Urls:
    host, metrics = _reached(options.host), _reached(options.metrics_host)
    scheme, http = ("grpc", host) if options.tls_cert is None else ("grpcs", "127.0.0.1")
    return Urls(
        f"{scheme}://{host}:{ports.grpc}",
        f"http://{http}:{ports.http}",
        f"http://{metrics}:{ports.metrics}/metrics",
    )


def _reached(host: str) -> str:
    """An address at which this machine reaches what listens at ``host``."""
    return bracketed({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))


def _wait_until_ready(
    server: RunningServer, seconds: float, stopping: threading.Event | None
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        code = server.wait(_POLL_S)
        if code is not None:
            raise ServerError(
                f"The server ended with code {code} before it was ready, and said: "
                f"{server.said() or 'nothing'}; mend this and start again."
            )
        if stopping is not None and stopping.is_set():
            raise CancelledError("Starting the server was interrupted; nothing is left of it.")
        if fetch(f"{server.urls.http}/v2/health/ready") is not None:
            break
        if time.monotonic() > deadline:
            raise ServerError(
                f"The server was not ready after {seconds:g} s, and said last: "
                f"{server.said() or 'nothing'}; mend this, or allow more by --start-seconds."
            )
    with suppress(ValueError, KeyError):
        server.version = str(json.loads(fetch(f"{server.urls.http}/v2") or b"{}")["version"])
