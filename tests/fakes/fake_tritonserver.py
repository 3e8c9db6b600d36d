"""A program that behaves as tritonserver does towards ``vera serve``; it serves no model.

FAKE_TRITON chooses what it does: "" as it should, "fails" at the start, "never-ready", "dies"
once it was asked for its version, "works" (cases stay in work when it is told to end), "holds" (no
case is left, but a client holds a stream open). FAKE_TRITON_HELP takes flags out of its --help.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

FLAGS = (
    *("model-repository", "model-control-mode", "disable-auto-complete-config", "exit-on-error"),
    *("strict-readiness", "exit-timeout-secs", "http-restricted-api", "grpc-restricted-protocol"),
    *("metrics-address", "http-max-input-size", "allow-client-shm", "allow-sagemaker"),
)
MODE = os.environ.get("FAKE_TRITON", "")
VERSION_ASKED = threading.Event()


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def options() -> dict[str, str]:
    pairs = (flag.removeprefix("--").partition("=") for flag in sys.argv[1:])
    return {name: value for name, _, value in pairs}


def make_memory() -> None:
    """Memory for a model, as Triton makes it: everybody may read it, whatever the umask."""
    (prefix,) = (flag.rpartition("=")[2] for flag in sys.argv if "shm-region-prefix-name" in flag)
    memory = Path("/dev/shm", f"{prefix}model")
    memory.touch()
    memory.chmod(0o644)


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/metrics":
            active = int(MODE == "works")
            return self.answer(f"vera_active_slots {active}\nvera_queue_length 0\n")
        if self.path == "/v2":
            self.answer(json.dumps({"name": "triton", "version": "2.99.0"}))
            return VERSION_ASKED.set()
        return self.send_error(503) if MODE == "never-ready" else self.answer("")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    if "--help" in sys.argv:
        gone = os.environ.get("FAKE_TRITON_HELP", "").split()
        say("Usage: tritonserver [options]")
        say("\n".join(f"  --{flag} <value>" for flag in FLAGS if flag not in gone))
        sys.exit(1)
    if MODE == "fails":
        say("E1121 12:00:00.1 7 lifecycle.cc:6] \"failed to load 'parser' version 1: no memory\"")
        say("error: creating server: Internal - failed to load all models")
        sys.exit(1)
    say("started", json.dumps(sys.argv[1:]))  # before it answers, so that it is in the log by then
    make_memory()
    given = options()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for port in ("http-port", "metrics-port"):
        address = (given["http-address"], int(given[port]))
        server = http.server.ThreadingHTTPServer(address, Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    if MODE == "dies":
        VERSION_ASKED.wait()
        time.sleep(0.2)  # the answer is on its way
        say("Signal (11) received.")
        os._exit(139)
    ended.wait()
    if MODE in ("works", "holds"):
        time.sleep(600)


if __name__ == "__main__":
    main()
