"""``vera serve`` over a real server of which only the model's process is killed."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import real_triton
from client_program import Ended, begun, vera_command

PORTS = ("--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)


def models_of(server: int) -> list[int]:
    """The processes in which its Python models run."""
    told = subprocess.run(
        ("ps", "--ppid", str(server), "-o", "pid=,comm="),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = (line.split() for line in told.stdout.splitlines())
    return [int(pid) for pid, name in rows if name.startswith("triton_python")]


def test_the_server_is_ended_and_its_clients_and_its_owner_are_told(rendered, photo_file, tmp_path):
    ready, photo = tmp_path / "ready.json", tmp_path / "photo.png"
    photo.write_bytes(photo_file)
    serving = vera_command(
        *("serve", rendered(slots=1, queue=1, threads=1, engines="none"), *PORTS, "--quiet"),
        *("--server", "bundled", "--python", real_triton.require(), "--ready-file", ready),
    )
    try:
        place = until(ready, serving)
        client = begun(place["grpc"], photo, steps=400)
        (model,) = models_of(place["pid"])
        os.kill(model, signal.SIGKILL)
        server, lost = Ended.of(serving), Ended.of(client)
    finally:
        serving.kill()
    assert server.code == 1
    (sentence,) = server.error.splitlines()
    # The second: at times Triton 2.51 crashes when it comes upon what the model left.
    watched, crashed = "The server's model does not answer any", "The server ended by itself"
    assert sentence.startswith((f"vera: {watched}", f"vera: {crashed}"))
    assert not ready.exists()
    assert not Path("/proc", str(place["pid"])).exists()
    assert "cannot be reached or was lost" in lost.error.splitlines()[-1]


def until(ready: Path, serving: subprocess.Popen[str]) -> dict[str, object]:
    """What the file says once it is there."""
    ends = time.monotonic() + 120
    while not ready.exists():
        if serving.poll() is not None or time.monotonic() > ends:
            pytest.fail(str(serving.communicate()))
        time.sleep(0.05)
    return json.loads(ready.read_text())
