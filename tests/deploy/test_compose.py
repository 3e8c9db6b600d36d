"""docker-compose.yml against the schema of the Compose specification, and against the code."""

import inspect
import re
import shlex
import subprocess
import sys

import pytest

from vera.launch.options import ServeOptions
from vera.launch.server import RunningServer
from vera.launch.workplace import CORE_BYTES
from vera.wire.tensors import MODEL

SERVERS = ("server", "server-gpu")


@pytest.fixture(params=SERVERS)
def server(request, compose):
    return compose["services"][request.param]


def seconds(duration):
    return int(duration.removesuffix("s"))


def with_defaults(text):
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def serve_flags(server, command_line):
    program, *flags = server["command"]
    assert program == "vera"
    return command_line.parse_args(flags)


def repository_flags(server, command_line):
    given = with_defaults(server["build"]["args"]["VERA_REPOSITORY"])
    flags = ["repository", "--out=/models", "--backend=python", *shlex.split(given)]
    return command_line.parse_args(flags)


def test_the_file_is_what_compose_expects(deploy):
    checking = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*checking, str(deploy / "docker-compose.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_server_is_reached_by_the_gateway_alone(compose, server):
    assert not {"ports", "expose", "network_mode"} & set(server)
    assert list(server["networks"]) == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}
    others = {name for name, service in compose["services"].items() if "ports" in service}
    assert others == {"gateway"}


def test_the_gateway_listens_on_this_machine_until_told_otherwise(compose):
    (port,) = compose["services"]["gateway"]["ports"]
    assert with_defaults(port) == "127.0.0.1:8443:8443"


def test_every_container_is_confined(compose):
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"pids_limit", "mem_limit", "healthcheck", "restart"} <= set(service)
        assert service["memswap_limit"] == service["mem_limit"]  # no swap
        assert service["ulimits"] == {"core": CORE_BYTES}
        assert not {"privileged", "pid", "cap_add", "devices", "userns_mode"} & set(service)
        assert all(mount.split(":")[-1] == "ro" for mount in service.get("volumes", ()))


def test_a_server_has_its_own_shared_memory_and_no_root(server):
    assert server["ipc"] == "private"
    assert server["shm_size"] == "1gb"
    assert server["user"] == "1000:1000"


def test_images_are_named_with_a_version(compose):
    for service in compose["services"].values():
        tag = with_defaults(service["image"]).rpartition(":")[2]
        assert re.match(r"\d+\.\d+\.\d+", tag)


def test_the_two_servers_differ_in_device_only(compose):
    plain, gpu = (compose["services"][name] for name in SERVERS)
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    differ = {key for key in {*plain, *gpu} if plain.get(key) != gpu.get(key)}
    assert differ == {"profiles", "image", "build", "deploy"}


def test_the_servers_flags_exist_and_cases_have_time_to_end(server, command_line):
    given = serve_flags(server, command_line)
    options = ServeOptions(**{k: getattr(given, k) for k in ServeOptions.__dataclass_fields__})
    limit = repository_flags(server, command_line).max_seconds
    assert options.drain_seconds >= limit
    left = inspect.signature(RunningServer.stop).parameters["kill_after_s"].default
    assert seconds(server["stop_grace_period"]) >= options.drain_seconds + left + 15


def test_the_repositorys_flags_exist(server, command_line):
    given = repository_flags(server, command_line)
    assert (given.slots, given.queue) == (2, 16)


def test_nobody_has_the_key_of_the_restricted_interfaces(server, command_line):
    assert serve_flags(server, command_line).restrict_key_file is None


def test_health_is_that_of_the_model(server):
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", server["healthcheck"]["test"][-1])
    assert asked is not None
    assert int(asked[1]) == ServeOptions().http_port
    assert asked[2] == f"/v2/models/{MODEL}/ready"


def test_the_gateway_ends_after_the_streams_in_work_and_before_it_is_killed(compose, command_line):
    gateway = compose["services"]["gateway"]
    limit = repository_flags(compose["services"]["server"], command_line).max_seconds
    assert gateway["stop_signal"] == "SIGQUIT"  # nginx: finish what is open
    assert seconds(gateway["stop_grace_period"]) > limit


def test_secrets_are_files_that_git_does_not_take(compose, deploy):
    assert "/secrets/" in (deploy / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert all(secret["file"].startswith("./secrets/") for secret in compose["secrets"].values())
    used = {n for service in compose["services"].values() for n in service.get("secrets", ())}
    assert used == set(compose["secrets"])
