"""A real tritonserver on loopback: the one inside nvidia-pytriton, with models of VerA's.

Its Python is that of VERA_TRITON_PYTHON, an environment with numpy<2, nvidia-pytriton and vera's
dependencies; without the variable there is no server to test with.
"""

import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

import vera

VARIABLE = "VERA_TRITON_PYTHON"
_READY_S, _END_S = 120.0, 45.0


def python() -> Path | None:
    """The interpreter of the environment with the server, or None."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def require() -> Path:
    """The interpreter; without one the test is skipped, or fails if VERA_REQUIRE_TRITON=1."""
    interpreter = python()
    if interpreter is None:
        told = f"no server: set {VARIABLE}"
        if os.environ.get("VERA_REQUIRE_TRITON") == "1":
            pytest.fail(told)
        pytest.skip(told)
    return interpreter


def site(interpreter: Path) -> Path:
    """Where the packages of an environment are."""
    return Path(_told(interpreter, "import sysconfig; print(sysconfig.get_path('purelib'))"))


def models_of(server: int) -> list[int]:
    """The processes in which the Python models of a tritonserver run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # of a process that has just ended
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == server and name.startswith("triton_python"):
                found.append(int(stat.parent.name))
    return found


class RealTriton:
    """One running server; use as a context manager, or call ``stop``."""

    def __init__(
        self,
        repository: Path,
        models: Sequence[str],
        work: Path,
        *,
        ports: Sequence[int] | None = None,
        interpreter: Path | None = None,
    ) -> None:
        """Starts the server and waits until it is ready.

        Args:
            repository: The model repository.
            models: Those that are loaded.
            work: An empty folder for its log and its back end directory.
            ports: Of HTTP, gRPC and metrics, such as an earlier server had; None takes free ones.
            interpreter: Runs the models in the stead of the one of the server's environment.
        """
        installed = python()
        assert installed is not None
        interpreter = interpreter or installed
        # Not imported: without its own dependencies it cannot be, and only its files are needed.
        server = site(installed) / "pytriton/tritonserver"
        self.ports = tuple(ports or _free_ports(3))
        self.http_port, self.grpc_port, self.metrics_port = self.ports
        self.prefix = f"vera_test_{os.getpid()}_{self.http_port}_"
        self.log = work / "server.log"
        arguments = {
            "model-repository": repository,
            "backend-directory": _backends(server, interpreter, work / "backends"),
            "model-control-mode": "explicit",
            "http-address": "127.0.0.1",
            "grpc-address": "127.0.0.1",
            "metrics-address": "127.0.0.1",
            "http-port": self.http_port,
            "grpc-port": self.grpc_port,
            "metrics-port": self.metrics_port,
            "allow-gpu-metrics": "false",
            "exit-timeout-secs": 10,
        }
        command = [str(server / "bin/tritonserver"), "--disable-auto-complete-config"]
        command += [f"--{name}={value}" for name, value in arguments.items()]
        command += [f"--load-model={model}" for model in models]
        command += [f"--backend-config=python,shm-region-prefix-name={self.prefix}"]
        command += ["--backend-config=python,shm-default-byte-size=4194304"]
        environment = {
            **os.environ,
            "PATH": f"{interpreter.parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self._wait_until_ready()

    def __enter__(self) -> "RealTriton":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def grpc(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self.http_port}"

    def metrics(self) -> dict[str, float]:
        """VerA's metrics by name with labels, as Prometheus would scrape them now."""
        text = _fetched(f"http://127.0.0.1:{self.metrics_port}/metrics")
        rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("vera_")]
        return {name: float(value) for name, value in rows}

    def cases(self, verdict: str) -> float:
        """How many cases ended so."""
        return self.metrics()[f'vera_cases_total{{verdict="{verdict}"}}']

    def until(self, holds: Callable[[dict[str, float]], bool], seconds: float = 20.0) -> None:
        """Waits until the metrics hold; the server counts after it has answered."""
        ends = time.monotonic() + seconds
        while not holds(told := self.metrics()):
            assert time.monotonic() < ends, told
            time.sleep(0.05)

    def until_idle(self, seconds: float = 20.0) -> None:
        """Waits until no case is in work and none waits."""
        self.until(lambda told: told["vera_active_slots"] + told["vera_queue_length"] == 0, seconds)

    def model_processes(self) -> list[int]:
        """The processes in which its Python models run."""
        return models_of(self.process.pid)

    def lines(self) -> str:
        """The log so far."""
        return self.log.read_text("utf-8", errors="replace")

    def ready(self) -> bool:
        try:
            _fetched(f"{self.http}/v2/health/ready")
        except OSError:
            return False
        return True

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        self.process.terminate()

    def kill(self) -> None:
        """Ends it at once, as the kernel does when memory runs out."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._clean()

    def stop(self) -> None:
        """Ends it, and removes what it left in shared memory."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_END_S)
        self.kill()  # also a model's process that outlives its server

    def _clean(self) -> None:
        for left in Path("/dev/shm").glob(f"{self.prefix}*"):
            left.unlink(missing_ok=True)

    def _wait_until_ready(self) -> None:
        ends = time.monotonic() + _READY_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > ends:
                self.stop()
                raise RuntimeError("the server did not start:\n" + self.lines()[-4000:])
            time.sleep(0.1)


def _backends(server: Path, interpreter: Path, folder: Path) -> Path:
    """A back end directory whose stub is that of the interpreter's version."""
    own = folder / "python"
    own.mkdir(parents=True)
    version = _told(interpreter, "import sys; print('%d.%d' % sys.version_info[:2])")
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shared = server / "backends/python"
    linked = (stub, *(shared / name for name in _SHARED))
    for path in linked:
        (own / path.name).symlink_to(path)
    # The stub ignores PYTHONPATH; its last place to look is this folder.
    if _told(interpreter, "import importlib.util as u; print(u.find_spec('vera'))") == "None":
        (own / "vera").symlink_to(Path(vera.__file__).parent)
    return folder


_SHARED = ("libtriton_python.so", "triton_python_backend_utils.py")


def _told(interpreter: Path, code: str) -> str:
    command = [str(interpreter), "-I", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def _free_ports(count: int) -> list[int]:
    """Ports that are free now: the server refuses port 0."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
