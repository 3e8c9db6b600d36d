"""``vera serve``'s own code with a real tritonserver: the one in nvidia-pytriton."""

import json
import os
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import real_triton
from small_repository import write_small_repository

from vera.errors import ServerError
from vera.launch.environment import PASSED
from vera.launch.options import ServeOptions
from vera.launch.server import RunningServer, start
from vera.launch.workplace import CORE_BYTES


@pytest.fixture(scope="module")
def options() -> ServeOptions:
    return ServeOptions(
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        server="bundled",
        python=real_triton.require(),
        drain_seconds=20,
    )


@pytest.fixture
def server(options, tmp_path) -> Iterator[RunningServer]:
    running = start(write_small_repository(tmp_path / "models"), options)
    yield running
    running.kill()


def counted(server: RunningServer, count: int) -> int:
    """How many answers of ``count`` arrived."""
    url = f"{server.urls.http}/v2/models/count/generate_stream"
    body = json.dumps({"N": count}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        return answer.read().count(b"data:")


def test_work_that_has_begun_is_finished_when_the_server_is_told_to_end(server):
    assert server.version.startswith("2.")
    answers: list[int] = []
    begun = threading.Thread(target=lambda: answers.append(counted(server, 12)))
    begun.start()
    deadline = time.monotonic() + 20
    while b'nv_inference_exec_count{model="count",version="1"} 1' not in _read(server.urls.metrics):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        assert server.wait(0) is None, server.said()
    assert server.stop()
    begun.join()
    assert answers == [12]
    assert not list(Path("/dev/shm").glob(f"vera_serve_{os.getpid()}_*"))


def test_memory_with_photographs_is_its_users_alone_and_models_work_in_it(server):
    regions = list(Path("/dev/shm").glob(f"vera_serve_{os.getpid()}_*"))
    assert [stat.S_IMODE(region.stat().st_mode) for region in regions] == [0o600]
    assert counted(server, 2) == 2


def test_a_crash_of_a_model_leaves_no_dump_and_a_model_knows_no_secret(server):
    (model,) = children(server.pid)
    limits = (model / "limits").read_text()
    (line,) = (line for line in limits.splitlines() if "core file" in line)
    assert line.split()[4:6] == [str(CORE_BYTES)] * 2
    by_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}  # that Triton starts its models by
    assert {"PATH", "LD_LIBRARY_PATH"} <= variables(model) <= PASSED | by_the_shell


def children(process: int) -> list[Path]:
    """The processes that another one started, as folders of /proc."""
    listed = Path("/proc", str(process), "task").glob("*/children")
    return [Path("/proc", number) for task in listed for number in task.read_text().split()]


def variables(process: Path) -> set[str]:
    """Names in a process's environment."""
    pairs = (process / "environ").read_text().split("\0")
    return {pair.partition("=")[0] for pair in pairs if pair}


def test_interfaces_that_change_the_server_are_closed(server):
    for path in ("v2/repository/index", "v2/repository/models/count/load"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            _read(f"{server.urls.http}/{path}", b"{}")
        assert refused.value.code == 403
        refused.value.close()


def test_a_model_that_cannot_be_loaded_is_told_by_its_own_error(options, tmp_path):
    broken = write_small_repository(tmp_path / "models", code="import no_such_module\n")
    with pytest.raises(
        ServerError, match=r"failed to load 'count' .* named 'no_such_module'; mend"
    ):
        start(broken, options)
    assert not list(Path("/dev/shm").glob(f"vera_serve_{os.getpid()}_*"))


def _read(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        return answer.read()
