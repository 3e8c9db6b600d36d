"""``vera serve``'s own code with a real tritonserver: the one in nvidia-pytriton."""

import json
import os
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
from vera.launch.options import ServeOptions
from vera.launch.server import RunningServer, start


@pytest.fixture(scope="module")
def options() -> ServeOptions:
    if real_triton.python() is None:
        told = f"no server: set {real_triton.VARIABLE}"
        if os.environ.get("VERA_REQUIRE_TRITON") == "1":
            pytest.fail(told)
        pytest.skip(told)
    return ServeOptions(
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        server="bundled",
        python=real_triton.python(),
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
    assert server.stop()
    begun.join()
    assert answers == [12]
    assert not list(Path("/dev/shm").glob(f"vera_serve_{os.getpid()}_*"))


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
