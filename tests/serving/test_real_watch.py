"""``vera serve`` over a real server of which only the model's process is killed."""

import os
import signal
from pathlib import Path

import real_triton
from client_program import Ended, begun, told_when_ready, vera_command

PORTS = ("--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)


def test_the_server_is_ended_and_its_clients_and_its_owner_are_told(rendered, photo_file, tmp_path):
    ready, photo = tmp_path / "ready.json", tmp_path / "photo.png"
    photo.write_bytes(photo_file)
    serving = vera_command(
        *("serve", rendered(slots=1, queue=1, threads=1, engines="none"), *PORTS, "--quiet"),
        *("--server", "bundled", "--python", real_triton.require(), "--ready-file", ready),
    )
    try:
        place = told_when_ready(serving, ready)
        client = begun(place["grpc"], photo, steps=400)
        (model,) = real_triton.models_of(place["pid"])
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
