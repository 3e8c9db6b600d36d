"""``vera serve``: a model repository on Triton, until it is told to stop."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from vera.commands.parsing import FAILED, INTERRUPTED, OK, Commands, OpenAnonymizer, command
from vera.errors import CancelledError, ServerError
from vera.launch.options import ServeOptions

_EXAMPLES = """examples:
  vera-export repository --out models/ --backend python
  vera serve models/                                    at 127.0.0.1: HTTP 8000, gRPC 8001
  vera serve models/ --http-port 0 --grpc-port 0 --metrics-port 0 --ready-file ready.json

SIGTERM, SIGHUP or Ctrl-C: no new work, cases in work are finished, then the server
ends; a second Ctrl-C ends it at once. Exit codes: 0 stopped and drained, 1 it failed or was
killed, 2 usage."""

_POLL_S = 0.2

_PATH = {"type": Path, "metavar": "FILE"}


def add(commands: Commands) -> None:
    """Adds ``serve``."""
    given = ServeOptions()
    parser = command(commands, "serve", _serve, "serve a model repository with Triton", _EXAMPLES)
    parser.add_argument("repository", type=Path, help="folder from vera-export repository")
    _add(parser, "--host", "address to listen at", given.host)
    for name in ("http", "grpc", "metrics"):
        port = getattr(given, f"{name}_port")
        _add(parser, f"--{name}-port", "0: a free one", port, type=int, metavar="N")
    _add(parser, "--metrics-host", "address of the metrics; never encrypted", given.metrics_host)
    _add(parser, "--server", "auto, bundled, docker, podman, or a path", given.server)
    _add(parser, "--python", "interpreter whose environment runs the models", type=Path)
    _add(parser, "--image", "container image with VerA in it; see deploy/Dockerfile")
    _add(parser, "--gpus", "GPUs of a container, such as all")
    _seconds(parser, "--start-seconds", "until it must be ready", given.start_seconds)
    _seconds(parser, "--drain-seconds", "for cases in work at the end", given.drain_seconds)
    _add(parser, "--http-bytes", "largest body over HTTP", given.http_bytes, type=int, metavar="N")
    parser.add_argument(
        "--allow-client-shm",
        action="store_true",
        help="let clients on this machine hand over shared memory; only for clients you trust",
    )
    _add(parser, "--restrict-key-file", "key of the restricted interfaces (default: none)", **_PATH)
    _add(parser, "--tls-cert", "certificate for gRPC, PEM; HTTP then stays on loopback", **_PATH)
    _add(parser, "--tls-key", "its key, PEM", **_PATH)
    _add(parser, "--tls-ca", "who must have signed a client's certificate, PEM", **_PATH)
    _add(parser, "--ready-file", "JSON with the addresses, there while it is ready", **_PATH)
    parser.add_argument("--quiet", action="store_true", help="do not pass on the server's log")


def _add(
    parser: argparse.ArgumentParser, flag: str, text: str, default: object = None, **kind: Any
) -> None:
    shown = "" if default is None else " (default: %(default)s)"
    parser.add_argument(flag, default=default, help=text + shown, **kind)


def _seconds(parser: argparse.ArgumentParser, flag: str, text: str, default: float) -> None:
    _add(parser, flag, f"seconds {text}", default, type=float, metavar="S")


def _serve(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    from vera.files.write import write_text
    from vera.launch.server import start

    options = ServeOptions(**{k: getattr(args, k) for k in ServeOptions.__dataclass_fields__})
    log = None if args.quiet else _to_stderr
    with _stopping() as (stopping, asked):
        try:
            server = start(args.repository, options, log=log, stopping=stopping)
        except CancelledError as error:
            _say(str(error))
            return INTERRUPTED
        try:
            ready = {**asdict(server.urls), "pid": server.pid, "version": server.version}
            if args.ready_file is not None:
                write_text(args.ready_file, json.dumps(ready) + "\n")
            _tell(server.urls, server.version, options)
            return _until_stopped(server, stopping, asked)
        except BaseException:
            server.stop()
            raise
        finally:
            if args.ready_file is not None:
                with suppress(OSError):
                    args.ready_file.unlink(missing_ok=True)


def _until_stopped(server: Any, stopping: threading.Event, asked: list[int]) -> int:
    """Waits for the server or for a signal; a second Ctrl-C while draining kills it."""
    while not stopping.wait(_POLL_S):
        code = server.wait(0)
        if code is not None:
            raise ServerError(
                f"The server ended by itself with code {code}, and said: "
                f"{server.said() or 'nothing'}; start it again."
            )
        if server.lost:
            server.kill()
            raise ServerError(
                "The server's model does not answer any more: its process was ended, perhaps for "
                "lack of memory, or hangs; start it again, with more memory or fewer slots if it "
                "ran out."
            )
    _say("no new work; waiting for the cases in work (Ctrl-C again: end at once).")
    drained: list[bool] = []
    draining = threading.Thread(target=lambda: drained.append(server.stop()), daemon=True)
    draining.start()
    while draining.is_alive():
        draining.join(_POLL_S)
        if asked.count(signal.SIGINT) > 1:
            server.kill()
            return INTERRUPTED
    if drained == [True]:
        _say("stopped.")
        return OK
    _say("the server did not end in its time and was killed; cases in work were lost.")
    return FAILED


@contextmanager
def _stopping() -> Iterator[tuple[threading.Event, list[int]]]:
    """SIGTERM, SIGHUP and Ctrl-C set the event and are counted; the old handlers come back."""
    stopping, asked = threading.Event(), []

    def handle(number: int, _: FrameType | None) -> None:
        asked.append(number)
        stopping.set()

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stopping, asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(urls: Any, version: str, options: ServeOptions) -> None:
    print(f"ready: {urls.grpc} {urls.http} (metrics {urls.metrics}), Triton {version}", flush=True)
    if options.loopback or options.tls_ca is not None:
        return
    if options.tls_cert is None:
        _say(
            "photographs travel unencrypted and anybody who reaches this address may send some; "
            "put a gateway with TLS and authentication before it."
        )
    else:
        _say(
            "anybody who reaches this address may send photographs, since no certificate is asked "
            "for; pass --tls-ca, or put a gateway with authentication before it."
        )


def _say(text: str) -> None:
    print(f"vera serve: {text}", file=sys.stderr, flush=True)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
