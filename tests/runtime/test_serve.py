"""``vera serve`` from start to end, with a program that behaves as tritonserver does."""

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fake_tritonserver
import pytest
from client_program import told_when_ready, vera_command
from small_repository import write_small_repository

from vera.cli import main
from vera.errors import CancelledError, ServerError
from vera.launch import server as launching
from vera.launch.options import ServeOptions
from vera.launch.server import start
from vera.launch.watch import Watch
from vera.wire.tensors import MODEL

PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


@pytest.fixture
def triton(tmp_path: Path) -> Path:
    """A server that does what the file ``mode`` says: the environment does not reach it."""
    script = tmp_path / "tritonserver"
    script.write_text(
        f'#!/bin/sh\n. "{tmp_path}/mode"\nexec {sys.executable} {fake_tritonserver.__file__} "$@"\n'
    )
    script.chmod(0o755)
    (tmp_path / "mode").touch()
    return script


@pytest.fixture
def behave(triton: Path) -> Callable[..., None]:
    """Says what the server does: FAKE_TRITON, and FAKE_TRITON_HELP."""

    def behave(mode: str = "", lacks: str = "") -> None:
        (triton.parent / "mode").write_text(
            f"export FAKE_TRITON='{mode}' FAKE_TRITON_HELP='{lacks}'\n"
        )

    return behave


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_small_repository(tmp_path / "models")


@pytest.fixture
def options(triton: Path) -> ServeOptions:
    return ServeOptions(
        http_port=0, grpc_port=0, metrics_port=0, server=str(triton), drain_seconds=0
    )


class Serving:
    """``vera serve`` in a process of its own."""

    def __init__(self, repository: Path, triton: Path, folder: Path) -> None:
        self.ready = folder / "ready.json"
        self.process = vera_command(
            *("serve", repository, *PORTS, "--server", triton),
            *("--ready-file", self.ready, "--drain-seconds", 60),
        )

    def until_ready(self) -> dict[str, str]:
        return told_when_ready(self.process, self.ready, 30)

    def end(self, *signals: signal.Signals) -> tuple[int, str, str]:
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.3)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def serving(repository: Path, triton: Path, behave, tmp_path: Path) -> Iterator:
    started = []

    def serve(mode: str = "") -> Serving:
        behave(mode)
        started.append(Serving(repository, triton, tmp_path))
        return started[-1]

    yield serve
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)  # twice: at once, and the program with it
            time.sleep(0.5)
            one.process.send_signal(signal.SIGINT)
        one.process.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_it_is_and_drains_when_told_to_end(serving, number):
    running = serving()
    ready = running.until_ready()
    code, out, err = running.end(number)
    assert code == 0, err
    assert ready["version"] == "2.99.0"
    assert ready["grpc"].startswith("grpc://127.0.0.1:")
    assert f"ready: {ready['grpc']} {ready['http']}" in out
    assert "waiting for the cases in work" in err
    assert err.endswith("vera serve: stopped.\n")
    assert not running.ready.exists()
    assert not Path("/proc", str(ready["pid"])).exists()


def test_a_second_ctrl_c_ends_it_at_once(serving):
    running = serving("works")
    ready = running.until_ready()
    code, _, _ = running.end(signal.SIGINT, signal.SIGINT)
    assert code == 130
    assert not Path("/proc", str(ready["pid"])).exists()


def test_a_server_that_dies_is_told(serving):
    running = serving("dies")
    code, out, err = running.end()
    assert code == 1
    assert "ready: grpc://" in out
    assert "The server ended by itself with code 139" in err
    assert "Signal (11) received" in err
    assert not running.ready.exists()


def test_a_model_that_is_gone_while_its_server_is_ready_ends_the_server(
    repository, triton, behave, tmp_path, monkeypatch, capsys
):
    behave()
    (repository / MODEL).mkdir()
    monkeypatch.setattr(launching, "Watch", partial(Watch, every_s=0.05))
    ready = tmp_path / "ready.json"
    given = [*PORTS, "--server", str(triton), "--ready-file", str(ready)]
    assert main(["serve", str(repository), *given]) == 1
    assert "vera: The server's model does not answer any more" in capsys.readouterr().err
    assert not ready.exists()


def test_a_server_that_does_not_start_is_told_with_its_reason(repository, triton, behave, capsys):
    behave("fails")
    assert main(["serve", str(repository), *PORTS, "--server", str(triton), "--quiet"]) == 1
    assert capsys.readouterr().err == (
        "vera: The server ended with code 1 before it was ready, and said: failed to load "
        "'parser' version 1: no memory; mend this and start again.\n"
    )


def test_no_repository_is_told_before_anything_is_started(tmp_path, capsys):
    assert main(["serve", str(tmp_path), "--server", str(tmp_path / "none")]) == 1
    assert "There is no model repository here" in capsys.readouterr().err


def test_a_server_that_never_gets_ready_is_given_up(repository, options, behave):
    from dataclasses import replace

    behave("never-ready")
    with pytest.raises(ServerError, match=r"was not ready after 0\.5 s, and said last"):
        start(repository, replace(options, start_seconds=0.5))


def test_starting_can_be_given_up(repository, options, behave):
    behave("never-ready")
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(CancelledError, match="was interrupted"):
        start(repository, options, stopping=stopping)


def test_cases_that_outlast_the_drain_are_lost_and_told(repository, options, behave):
    behave("works")
    server = start(repository, options)
    assert not server.stop(kill_after_s=0.5)
    assert server.wait(0) == -signal.SIGKILL


def test_a_client_that_holds_its_stream_open_does_not_hold_up_the_end(repository, options, behave):
    from dataclasses import replace

    behave("holds")
    server = start(repository, replace(options, drain_seconds=15))
    assert server.stop(settle_s=0.2, kill_after_s=0.5)


def test_the_log_is_passed_on_line_by_line(repository, options):
    lines: list[str] = []
    with start(repository, options, log=lines.append) as server:
        assert server.version == "2.99.0"
    assert "--model-control-mode=none" in started_with(lines)


def started_with(lines: list[str]) -> list[str]:
    """The flags that the program was started with."""
    return json.loads(lines[0].removeprefix("started "))


def test_memory_that_a_server_left_is_removed(repository, options):
    lines: list[str] = []
    with start(repository, options, log=lines.append):
        (prefix,) = (flag.split("=")[-1] for flag in started_with(lines) if "prefix" in flag)
        left = Path("/dev/shm", f"{prefix}left")
        left.write_bytes(b"a picture")
    assert not left.exists()


def test_a_server_that_is_too_old_is_not_started(repository, options, behave):
    behave(lacks="http-restricted-api")
    with pytest.raises(ServerError, match="too old: it has no --http-restricted-api"):
        start(repository, options)


def test_every_option_is_in_the_document_and_the_document_names_no_other(capsys):
    assert main(["serve", "--help"]) == 0
    helped = re.findall(r"^  (?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    offered = set(helped) - {"--help", "--debug"}
    document = (Path(__file__).parents[2] / "docs/serving.md").read_text("utf-8")
    section = document.split("## Starting a server")[1].split("### What is always so")[0]
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", section))
    assert offered - told == set()
    assert told - offered == set()


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        ((), "photographs travel unencrypted and anybody"),
        (("cert", "key"), "anybody who reaches this address may send photographs"),
        (("cert", "key", "ca"), None),
    ],
)
def test_what_an_open_address_lets_everybody_do_is_told(
    repository, triton, behave, tmp_path, capsys, files, warning
):
    behave("dies")
    tls = [part for name in files for part in (f"--tls-{name}", str(tmp_path / name))]
    given = [*PORTS, "--host", "0.0.0.0", "--server", str(triton), *tls]
    assert main(["serve", str(repository), *given]) == 1
    told = capsys.readouterr()
    assert "(metrics http://127.0.0.1:" in told.out
    if warning is None:
        assert "anybody" not in told.err
    else:
        assert f"vera serve: {warning}" in told.err
