"""Every flag of ``vera serve`` reaches the server that it starts."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from fake_tritonserver import FLAGS
from small_repository import write_small_repository

from vera.cli import main
from vera.launch.flags import KEY_HEADER
from vera.launch.options import ServeOptions
from vera.launch.ports import choose_ports

FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")

# Tells its options when it is asked for them; else it writes down, once, how it was started.
_SERVER = f"""#!/bin/sh
case " $* " in *" --help "*) printf '  --%s <x>\\n' {" ".join(FLAGS)}; exit 1 ;; esac
[ -e TOLD ] || printf '%s\\n' "$PATH" "$@" > TOLD
"""


class Started(NamedTuple):
    """How a server was started."""

    path: str
    words: list[str]

    @property
    def flags(self) -> dict[str, str]:
        pairs = (word.removeprefix("--").partition("=") for word in self.words)
        return {name: value for name, _, value in pairs}


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_small_repository(tmp_path / "models")


@pytest.fixture
def started(repository: Path, tmp_path: Path, monkeypatch) -> Callable[..., Started]:
    """Runs ``vera serve`` with these flags; its server writes down how it was started and ends."""
    told = tmp_path / "told"
    text = _SERVER.replace("TOLD", str(told)) + "exit 1\n"
    server, _ = program(tmp_path / "server", text), program(tmp_path / "docker", text)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def started(*arguments: object, ports: tuple[str, ...] = FREE) -> Started:
        told.unlink(missing_ok=True)
        given = [*ports, "--server", server, *arguments]  # of a flag given twice the last counts
        assert main(["serve", str(repository), *map(str, given)]) == 1
        path, *words = told.read_text().splitlines()
        return Started(path, words)

    return started


def test_it_listens_where_it_was_told(started):
    host, metrics = "127.0.0.2", "127.0.0.3"
    options = ServeOptions(
        host=host, metrics_host=metrics, http_port=0, grpc_port=0, metrics_port=0
    )
    ports = choose_ports(options)
    given = ("--http-port", ports.http, "--grpc-port", ports.grpc, "--metrics-port", ports.metrics)
    flags = started("--host", host, "--metrics-host", metrics, ports=given).flags
    for name in ("http", "grpc", "metrics"):
        assert flags[f"{name}-address"] == (metrics if name == "metrics" else host)
        assert flags[f"{name}-port"] == str(getattr(ports, name))


def test_limits_and_times_reach_the_server(started):
    flags = started("--http-bytes", 1234567, "--drain-seconds", 7, "--allow-client-shm").flags
    assert flags["http-max-input-size"] == "1234567"
    assert flags["exit-timeout-secs"] == "7"
    assert flags["allow-client-shm"] == "true"


def test_files_of_tls_and_of_the_key_reach_the_server(started, tmp_path):
    (tmp_path / "admin.key").write_text("0123456789abcdef\n")
    certificate, key, authority = (tmp_path / f"{name}.pem" for name in ("cert", "key", "ca"))
    flags = started(
        *("--tls-cert", certificate, "--tls-key", key, "--tls-ca", authority),
        *("--restrict-key-file", tmp_path / "admin.key"),
    ).flags
    assert flags["grpc-server-cert"] == str(certificate)
    assert flags["grpc-server-key"] == str(key)
    assert flags["grpc-root-cert"] == str(authority)
    assert flags["http-restricted-api"].endswith(f":{KEY_HEADER}=0123456789abcdef")


def test_models_run_in_the_environment_of_the_interpreter_that_is_named(started, tmp_path):
    found = {"bin": "/elsewhere/bin", "version": "3.11", "libraries": "", "numpy": "1.26.4"}
    found |= {"vera": True, "pytriton": None}
    python = program(tmp_path / "python", f"#!/bin/sh\necho '{json.dumps(found)}'\n")
    assert started("--python", python).path.startswith("/elsewhere/bin:")
    assert not started().path.startswith("/elsewhere/bin:")


def test_a_container_has_the_image_and_the_gpus_that_were_named(started):
    words = started("--server", "docker", "--image", "vera:1", "--gpus", "device=1").words
    assert words[0] == "run"
    assert words[words.index("--gpus") + 1] == "device=1"
    assert words[words.index("vera:1") + 1] == "tritonserver"


def test_a_server_that_takes_longer_than_it_may_is_given_up(repository, tmp_path, capsys):
    server = program(tmp_path / "server", _SERVER.replace("TOLD", "/dev/null") + "exec sleep 5\n")
    given = ["--server", str(server), "--start-seconds", "0"]
    assert main(["serve", str(repository), *FREE, *given]) == 1
    assert "The server was not ready after 0 s" in capsys.readouterr().err
