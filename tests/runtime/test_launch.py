"""What a server is started with: options, ports, flags, programs, the mark of a repository."""

import os
import socket
import stat
import sys
from pathlib import Path

import pytest
from small_repository import write_small_repository

from vera.errors import BundleError, ServerError, UsageError
from vera.launch.drain import cases_left
from vera.launch.flags import KEY_HEADER, Place, build_flags, known_flags
from vera.launch.interpreter import Interpreter, probe
from vera.launch.log import reason
from vera.launch.options import ServeOptions
from vera.launch.ports import Ports, choose_ports
from vera.launch.program import find_program
from vera.launch.repository import MARK, check_repository, read_mark
from vera.launch.server import start
from vera.launch.workplace import Workplace, prepare

NEEDED = (
    *("model-control-mode", "disable-auto-complete-config", "strict-readiness", "exit-on-error"),
    *("http-restricted-api", "grpc-restricted-protocol", "metrics-address"),
)
PORTS = Ports(1, 2, 3)
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def flags_of(options: ServeOptions, *more: str, **place) -> dict[str, str]:
    hosts = {"host": options.host, "http_host": options.host, "metrics_host": options.metrics_host}
    where = Place(Path("/models"), **{**hosts, "tls": (), "shm_prefix": "p_", **place})
    built = build_flags(options, PORTS, where, frozenset((*NEEDED, *more)))
    pairs = [flag.removeprefix("--").partition("=") for flag in built]
    return {name: value for name, _, value in pairs if name != "backend-config"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "localhost"}, "--host must be an address"),
        ({"metrics_host": "localhost"}, "--metrics-host must be an address"),
        ({"http_port": 8001}, "three ports must differ"),
        ({"grpc_port": 70000}, "three ports must differ"),
        ({"tls_cert": Path("c")}, "pass both"),
        ({"tls_ca": Path("c")}, "pass both"),
        ({"drain_seconds": -1.0}, "--drain-seconds must be"),
    ],
)
def test_options_that_make_no_sense_are_told(changes, message):
    with pytest.raises(UsageError, match=message):
        ServeOptions(**changes)


@pytest.mark.parametrize(("host", "here"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)])
def test_a_loopback_address_is_known(host, here):
    assert ServeOptions(host=host).loopback == here


def test_free_ports_differ():
    ports = choose_ports(ServeOptions(**FREE))
    assert len({ports.http, ports.grpc, ports.metrics}) == 3


def test_a_taken_port_is_told_with_its_number():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1 cannot be had"):
            choose_ports(ServeOptions(**{**FREE, "grpc_port": port}))


def test_an_address_of_another_machine_is_told():
    with pytest.raises(UsageError, match="cannot be had"):
        choose_ports(ServeOptions(host="192.0.2.1", **FREE))


def test_flags_are_the_safe_ones():
    flags = flags_of(ServeOptions(drain_seconds=7.2))
    assert flags["model-control-mode"] == "none"
    assert flags["strict-readiness"] == flags["exit-on-error"] == "true"
    assert "disable-auto-complete-config" in flags
    assert flags["exit-timeout-secs"] == "8"
    assert {flags[f"{name}-address"] for name in ("http", "grpc", "metrics")} == {"127.0.0.1"}
    assert (flags["http-port"], flags["grpc-port"], flags["metrics-port"]) == ("1", "2", "3")


def test_an_address_of_ipv6_is_written_as_each_listener_reads_it():
    flags = flags_of(ServeOptions(host="::1", metrics_host="::1"))
    assert flags["grpc-address"] == "[::1]"
    assert flags["http-address"] == flags["metrics-address"] == "ipv6:::1"


def test_metrics_stay_on_this_machine_until_told_otherwise():
    assert flags_of(ServeOptions(host="192.0.2.1"))["metrics-address"] == "127.0.0.1"
    flags = flags_of(ServeOptions(metrics_host="192.0.2.1"))
    assert flags["metrics-address"] == "192.0.2.1"
    assert flags["http-address"] == flags["grpc-address"] == "127.0.0.1"


def test_interfaces_that_change_a_server_need_a_key_that_nobody_has():
    first, second = (flags_of(ServeOptions()) for _ in range(2))
    closed, _, key = first["http-restricted-api"].partition(f":{KEY_HEADER}=")
    assert set(closed.split(",")) == {"model-repository", "shared-memory", "trace", "logging"}
    assert first["grpc-restricted-protocol"] == first["http-restricted-api"]
    assert len(key) >= 32
    assert first["http-restricted-api"] != second["http-restricted-api"]


def test_the_key_of_a_file_opens_them_and_client_memory_is_open_only_if_asked(tmp_path):
    (tmp_path / "key").write_text("0123456789abcdef\n")
    flags = flags_of(
        ServeOptions(restrict_key_file=tmp_path / "key", allow_client_shm=True), "allow-client-shm"
    )
    assert flags["http-restricted-api"].endswith(f":{KEY_HEADER}=0123456789abcdef")
    assert "shared-memory" not in flags["http-restricted-api"]
    assert flags["allow-client-shm"] == "true"


@pytest.mark.parametrize("text", [None, "", "short", "0123456789abcdef,x:y=z"])
def test_a_file_without_a_key_is_told(tmp_path, text):
    if text is not None:
        (tmp_path / "key").write_text(text)
    with pytest.raises(UsageError, match="file of --restrict-key-file"):
        flags_of(ServeOptions(restrict_key_file=tmp_path / "key"))


def test_flags_that_a_version_does_not_know_are_left_out():
    new = ("http-max-input-size", "allow-client-shm", "grpc-max-response-pool-size")
    assert not set(new) & set(flags_of(ServeOptions()))
    flags = flags_of(ServeOptions(http_bytes=9), *new)
    assert flags["http-max-input-size"] == "9"
    assert flags["allow-client-shm"] == "false"


def test_with_mutual_tls_clients_are_asked_for_a_certificate():
    paths = tuple(Path(name) for name in ("cert", "key", "ca"))
    assert "grpc-use-ssl" not in flags_of(ServeOptions())
    assert "grpc-use-ssl-mutual" not in flags_of(ServeOptions(), tls=paths[:2])
    flags = flags_of(ServeOptions(), tls=paths)
    assert flags["grpc-use-ssl"] == flags["grpc-use-ssl-mutual"] == "true"
    assert (flags["grpc-server-cert"], flags["grpc-root-cert"]) == ("cert", "ca")


def test_help_of_a_server_that_is_too_old_or_none_is_told():
    text = "\n".join(f"  --{flag} <x>\n\tWhat it is, see --nothing." for flag in NEEDED)
    assert known_flags(text) == set(NEEDED)
    with pytest.raises(ServerError, match="too old: it has no --strict-readiness"):
        known_flags(text.replace("--strict-readiness", "--other"))
    with pytest.raises(ServerError, match="does not tell its options"):
        known_flags("command not found")


def environment(folder: Path, *, version: str = "3.11", **found) -> Interpreter:
    """One with nvidia-pytriton in it, as far as files are looked at."""
    stub = folder / "pytriton/tritonserver/python_backend_stubs" / version
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "triton_python_backend_stub").touch()
    given = {"bin": "/e/bin", "version": version, "libraries": "/l", "numpy": "1.26.4"}
    home = str(folder / "pytriton")
    return Interpreter(**{**given, "vera": True, "pytriton": home, **found})


def python_with(folder: Path, found: Interpreter) -> Path:
    """An interpreter that tells ``found`` when it is looked into."""
    import json
    from dataclasses import asdict

    script = folder / "python"
    script.write_text(f"#!/bin/sh\necho '{json.dumps(asdict(found))}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def bundled(tmp_path: Path, hosts: dict[str, str] | None = None, **found):
    python = python_with(tmp_path, environment(tmp_path, **found))
    return find_program(ServeOptions(server="bundled", python=python, **(hosts or {})))


def test_the_bundled_server_is_found_in_an_environment(tmp_path):
    program = bundled(tmp_path)
    assert program.kind == "bundled"
    assert program.path == tmp_path / "pytriton/tritonserver/bin/tritonserver"


def test_the_bundled_server_stays_on_this_machine(tmp_path):
    with pytest.raises(ServerError, match="only, got --host 0"):
        bundled(tmp_path, {"host": "0.0.0.0"})
    with pytest.raises(ServerError, match="only, got --metrics-host 0"):
        bundled(tmp_path, {"metrics_host": "0.0.0.0"})


def test_the_bundled_server_under_another_name_is_known(tmp_path):
    environment(tmp_path)
    binary = tmp_path / "pytriton/tritonserver/bin/tritonserver"
    binary.parent.mkdir()
    binary.touch()
    (tmp_path / "mine").symlink_to(binary)
    with pytest.raises(ServerError, match="may listen at 127"):
        find_program(ServeOptions(host="0.0.0.0", server=str(tmp_path / "mine")))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"numpy": "2.1.0"}, "damages tensors with NumPy 2, got NumPy 2.1.0"),
        ({"numpy": None}, "damages tensors with NumPy 2"),
        ({"pytriton": None}, "nvidia-pytriton is not in the Python environment"),
        ({"vera": False, "version": "3.7"}, "vera is not in the Python 3.7 environment"),
    ],
)
def test_an_environment_that_cannot_serve_is_told(tmp_path, found, message):
    with pytest.raises(ServerError, match=message):
        bundled(tmp_path, **found)


def test_the_bundled_server_is_not_started_for_a_back_end_that_it_lacks(tmp_path):
    folder = write_small_repository(tmp_path / "models")
    (folder / MARK).write_text((folder / MARK).read_text().replace('"python"', '"onnxruntime"'))
    options = ServeOptions(
        **FREE, server="bundled", python=python_with(tmp_path, environment(tmp_path))
    )
    with pytest.raises(ServerError, match="the repository is for onnxruntime"):
        start(folder, options)


def test_an_interpreter_that_does_not_run_is_told(tmp_path):
    with pytest.raises(ServerError, match="cannot be run"):
        probe(tmp_path / "nothing")


def test_this_interpreter_is_probed():
    assert probe(None).version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert probe(None).numpy is not None


def test_no_server_at_all_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    python = python_with(tmp_path, environment(tmp_path, pytriton=None))
    python.write_text(python.read_text().replace("#!/bin/sh", "#!/bin/sh\nPATH=/bin:/usr/bin"))
    with pytest.raises(ServerError, match="No Triton server was found"):
        find_program(ServeOptions(python=python))
    with pytest.raises(ServerError, match="There is no tritonserver at"):
        find_program(ServeOptions(server=str(tmp_path / "tritonserver")))


def test_a_container_needs_an_image_and_an_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs --image"):
        find_program(ServeOptions(server="docker"))
    with pytest.raises(ServerError, match="podman is not on the PATH"):
        find_program(ServeOptions(server="podman", image="vera:1"))


def in_container(tmp_path: Path, monkeypatch, **changes) -> Workplace:
    engine = tmp_path / "docker"
    helped = " ".join(f"--{flag}" for flag in NEEDED)
    engine.write_text(f"#!/bin/sh\nprintf '  %s <x>\\n' {helped}\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = ServeOptions(**{"server": "docker", "image": "vera:1", **changes})
    made = prepare(tmp_path / "models", options, find_program(options), Ports(8000, 8001, 8002))
    made.clear()
    return made


def test_a_container_is_read_only_private_and_published_where_it_was_asked(tmp_path, monkeypatch):
    made = in_container(tmp_path, monkeypatch, gpus="all")
    line = " ".join(made.command)
    for part in (
        *("run --rm", "--read-only", "--ipc private", "--cap-drop ALL", "--gpus all"),
        *("no-new-privileges", f"source={tmp_path}/models,target=/models,readonly"),
        *("-p 127.0.0.1:8000:8000", "-p 127.0.0.1:8001:8001", "-p 127.0.0.1:8002:8002"),
        *("vera:1 tritonserver --model-repository=/models", "--http-address=0.0.0.0"),
        *("--metrics-address=0.0.0.0", "--ulimit core=1:1"),
    ):
        assert part in line
    name = made.command[made.command.index("--name") + 1]
    assert made.killing[1:] == ("kill", name)
    assert not made.folder.exists()


def test_with_tls_http_is_published_on_this_machine_only(tmp_path, monkeypatch):
    files = {"tls_cert": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    line = " ".join(in_container(tmp_path, monkeypatch, host="0.0.0.0", **files).command)
    assert "-p 127.0.0.1:8000:8000" in line
    assert "-p 0.0.0.0:8001:8001" in line
    assert "-p 127.0.0.1:8002:8002" in line
    assert "--grpc-server-cert=/tls/0 --grpc-server-key=/tls/1" in line


def test_a_repository_is_known_by_its_mark(tmp_path):
    folder = write_small_repository(tmp_path / "models")
    assert check_repository(folder).backend == "python"
    with pytest.raises(BundleError, match="no model repository here"):
        read_mark(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("contract", 99, "another engine contract: this package needs 1, the repository has 99"),
        ("protocol", 0, "another protocol"),
        ("unknown", 1, "cannot be read"),
    ],
)
def test_a_repository_of_another_version_is_told(tmp_path, name, value, message):
    import json

    folder = write_small_repository(tmp_path / "models")
    told = json.loads((folder / MARK).read_text())
    (folder / MARK).write_text(json.dumps({**told, name: value}))
    with pytest.raises(BundleError, match=message):
        check_repository(folder)


def test_a_missing_file_of_a_repository_is_told(tmp_path):
    folder = write_small_repository(tmp_path / "models")
    (folder / "count/1/model.py").unlink()
    with pytest.raises(BundleError, match=r"count/1/model.py cannot be read"):
        check_repository(folder)


def test_cases_left_are_read_from_the_metrics():
    text = b'# HELP vera_active_slots x\nvera_active_slots 2\nvera_queue_length{a="b"} 3\n'
    assert cases_left(text) == 5
    assert cases_left(text.replace(b"2", b"0").replace(b"3", b"0")) == 0
    assert cases_left(b"vera_active_slots 0\n") is None
    assert cases_left(None) is None


def test_the_gauges_of_a_drain_are_those_of_the_model():
    from vera.launch.drain import WORK
    from vera.serving.metrics import FAMILIES

    assert set(WORK) <= {family.name for family in FAMILIES if family.kind == "gauge"}


def test_the_reason_is_the_first_model_that_was_not_loaded():
    lines = [
        'E1121 12:00:00.1 7 server.cc:241] "CudaDriverHelper has not been initialized."',
        "| parser | UNAVAILABLE |",
        "E1121 12:00:00.1 7 life.cc:6] \"failed to load 'parser' version 1: no m\\n\\nAt:\\n  x\"",
        "E1121 12:00:00.1 7 life.cc:6] \"failed to load 'guide' version 1: no memory\"",
        "error: creating server: Internal - failed to load all models",
    ]
    assert reason(lines) == "failed to load 'parser' version 1: no m"
    assert reason(lines[-1:]) == "creating server: Internal - failed to load all models"
    assert reason(["", "one", "two"]) == "one; two"
    assert reason([]) == ""
