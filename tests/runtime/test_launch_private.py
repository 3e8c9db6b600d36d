"""What a server holds of photographs is its user's alone, and what it knows is what it needs."""

import os
import stat
import sys
import time
from pathlib import Path

import fake_tritonserver
import pytest
from small_repository import write_small_repository

from vera.launch import memory
from vera.launch.environment import PASSED, server_environment
from vera.launch.interpreter import Interpreter
from vera.launch.options import ServeOptions
from vera.launch.program import Program
from vera.launch.server import RunningServer, start
from vera.launch.workplace import CORE_BYTES

ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
SYSTEM = Program("system", Path("/opt/tritonserver"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_file(path: Path) -> Path:
    path.touch()
    path.chmod(0o644)
    return path


@pytest.fixture
def server(tmp_path: Path):
    """A running server that makes memory as Triton does, with its prefix."""
    script = tmp_path / "tritonserver"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_tritonserver.__file__} "$@"\n')
    script.chmod(0o755)
    options = ServeOptions(http_port=0, grpc_port=0, metrics_port=0, server=str(script))
    running = start(write_small_repository(tmp_path / "models"), options)
    yield running
    running.kill()


def memories(server: RunningServer) -> list[Path]:
    command = Path("/proc", str(server.pid), "cmdline").read_text().split("\0")
    (prefix,) = (flag.rpartition("=")[2] for flag in command if "shm-region-prefix" in flag)
    return sorted(memory.FOLDER.glob(f"{prefix}*"))


def test_memory_with_photographs_is_shut_when_the_server_is_ready(server):
    (region,) = memories(server)
    assert mode(region) == 0o600


def test_memory_of_a_model_that_is_started_again_is_shut_as_well(server):
    (first,) = memories(server)
    again = open_file(first.with_name(f"{first.name}_again"))
    deadline = time.monotonic() + 20
    while mode(again) != 0o600:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_crash_of_the_server_leaves_no_dump(server):
    limits = Path("/proc", str(server.pid), "limits").read_text()
    (line,) = (line for line in limits.splitlines() if "core file" in line)
    assert line.split()[4:6] == [str(CORE_BYTES)] * 2


def test_only_memory_of_that_server_is_shut(tmp_path):
    own, other = (open_file(tmp_path / name) for name in ("a_1", "b_1"))
    memory.shut("a_", tmp_path)
    assert (mode(own), mode(other)) == (0o600, 0o644)


def test_a_link_that_somebody_put_there_leads_nowhere(tmp_path):
    victim = open_file(tmp_path / "victim")
    (tmp_path / "a_1").symlink_to(victim)
    memory.shut("a_", tmp_path)
    assert mode(victim) == 0o644


def test_memory_of_a_killed_launcher_is_removed_when_it_is_old(tmp_path):
    ended, own = (open_file(tmp_path / f"vera_serve_{pid}_x") for pid in (2**22 + 1, os.getpid()))
    new = open_file(tmp_path / f"vera_serve_{2**22 + 1}_y")
    for old in (ended, own):
        os.utime(old, (0, 0))
    memory.remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([own, new])


def test_a_server_knows_nothing_of_a_shell_but_what_it_needs():
    secret = {"AWS_SECRET_ACCESS_KEY": "x", "NVIDIA_API_KEY": "x", "PYTHONHOME": "x"}
    given = {"PATH": "/bin", "LANG": "C", "CUDA_VISIBLE_DEVICES": "1", **secret}
    found = server_environment(SYSTEM, given)
    assert found == {"PATH": "/bin", "LANG": "C", "CUDA_VISIBLE_DEVICES": "1", **ONE_BLAS_THREAD}
    assert not any(word in name for name in PASSED for word in ("KEY", "TOKEN", "PASS", "PROXY"))


def test_the_environment_of_this_process_does_not_reach_the_server(server_environment_of):
    assert "VERA_TEST_SECRET" not in server_environment_of(VERA_TEST_SECRET="hidden")
    assert server_environment_of(OMP_NUM_THREADS="3")["OMP_NUM_THREADS"] == "3"


@pytest.fixture
def server_environment_of(tmp_path, monkeypatch):
    """The environment of a server that is started with these variables set."""
    repository = write_small_repository(tmp_path / "models")
    script = tmp_path / "tritonserver"
    helped = " ".join(fake_tritonserver.FLAGS)
    script.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" --help "*) printf \'  --%s <x>\\n\' {helped}; exit 1 ;; esac\n'
        f"env > '{tmp_path}/env'\nexit 1\n"
    )
    script.chmod(0o755)

    def server_environment_of(**variables: str) -> dict[str, str]:
        from vera.errors import ServerError

        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        options = ServeOptions(http_port=0, grpc_port=0, metrics_port=0, server=str(script))
        with pytest.raises(ServerError, match="ended with code 1"):
            start(repository, options)
        lines = (tmp_path / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return server_environment_of


def test_models_run_by_the_interpreter_of_their_environment():
    interpreter = Interpreter("/e/bin", "3.11", "/e/lib", "1.26.4", True, "/e/pytriton")
    given = {"PATH": "/bin", "LD_LIBRARY_PATH": "/cuda"}
    bundled = server_environment(Program("bundled", Path("/t"), interpreter), given)
    assert bundled == {"PATH": "/e/bin:/bin", "LD_LIBRARY_PATH": "/e/lib:/cuda", **ONE_BLAS_THREAD}
    system = server_environment(Program("system", Path("/t"), interpreter), given)
    assert system == {"PATH": "/e/bin:/bin", "LD_LIBRARY_PATH": "/cuda", **ONE_BLAS_THREAD}


def test_threads_of_numpy_are_one_unless_somebody_chose():
    assert server_environment(SYSTEM, {"OPENBLAS_NUM_THREADS": "4"}) == {
        "OPENBLAS_NUM_THREADS": "4"
    }


def test_a_container_engine_finds_its_service_by_its_own_variables():
    given = {"DOCKER_HOST": "unix:///run/user/1000/docker.sock", "PATH": "/bin"}
    assert server_environment(Program("container", Path("/docker")), given) == given
