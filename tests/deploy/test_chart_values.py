"""The chart's values: what is refused, and that everything named exists in the code."""

import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from vera.launch.options import ServeOptions
from vera.launch.server import RunningServer
from vera.wire.server import Limits
from vera.wire.tensors import MODEL
from vera_export.repository.options import BACKENDS

EVERYTHING = {
    "adminSecret": "vera-admin",
    "bundle": {"claim": "vera-bundle"},
    "server": {"threads": 4},
    "gateway": {"enabled": True, "grpcHostname": "a.example", "httpHostname": "b.example"},
}


@pytest.fixture
def values(deploy):
    return yaml.safe_load((deploy / "helm/vera/values.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def pod(chart):
    (deployment,) = [d for d in chart(**EVERYTHING) if d["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image": {"repository": ""}}, "/image/repository"),
        ({"image": {"repository": "r", "tag": "latest"}}, "/image/tag"),
        ({"image": {"repository": "r", "digest": "sha256:1"}}, "/image/digest"),
        ({"server": {"slots": 0}}, "/server/slots"),
        ({"server": {"backend": "tensorrt"}}, "/server/backend"),
        ({"limits": {"photo": 1}}, "/limits"),
        ({"slots": 4}, "additional properties 'slots' not allowed"),
        ({"drain": {"cases": 5}}, "shorter than the longest case"),
        ({"gateway": {"enabled": True}}, "gateway.grpcHostname is missing"),
    ],
)
def test_wrong_values_are_refused(chart, refused, wrong, said):
    with pytest.raises(refused, match=re.escape(said)):
        chart(**wrong)


def test_every_value_is_in_the_schema_and_used(values, deploy):
    schema = json.loads((deploy / "helm/vera/values.schema.json").read_text(encoding="utf-8"))
    templates = "".join(
        path.read_text(encoding="utf-8") for path in (deploy / "helm/vera/templates").iterdir()
    )
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        assert f".Values.{name}" in templates
        if isinstance(value, dict) and schema["properties"][name].get("properties"):
            assert set(schema["properties"][name]["properties"]) >= set(value)


def flag_names(limits):
    """Limits of the chart by the names that they have in the code."""
    return {re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", k): v for k, v in limits.items()}


def test_the_limits_are_those_of_the_wire(values):
    limits = flag_names(values["limits"])
    assert set(limits) == set(Limits.__dataclass_fields__)
    Limits(**limits)


def test_the_back_ends_that_a_pod_can_render_exist(deploy):
    schema = json.loads((deploy / "helm/vera/values.schema.json").read_text(encoding="utf-8"))
    offered = set(schema["properties"]["server"]["properties"]["backend"]["enum"])
    assert offered == set(BACKENDS) - {"tensorrt"}


def test_the_flags_of_the_server_exist_and_make_sense(pod, command_line):
    assert pod["containers"][0]["command"] == ["vera"]
    given = command_line.parse_args(pod["containers"][0]["args"])
    options = ServeOptions(**{k: getattr(given, k) for k in ServeOptions.__dataclass_fields__})
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {
        "http": options.http_port,
        "grpc": options.grpc_port,
        "metrics": options.metrics_port,
    }
    assert not options.allow_client_shm
    assert options.metrics_host == "0.0.0.0"  # Prometheus is in another pod


def test_the_flags_of_the_repository_exist_and_carry_the_values(pod, command_line, values):
    (renderer,) = pod["initContainers"]
    assert renderer["command"] == ["vera-export"]
    given = command_line.parse_args(renderer["args"])
    limits = flag_names(values["limits"])
    assert {name: getattr(given, f"max_{name}") for name in limits} == limits
    assert (given.slots, given.queue) == (values["server"]["slots"], values["server"]["queue"])
    assert given.threads == EVERYTHING["server"]["threads"]
    assert given.bundle == Path("/bundle")


def test_single_engines_are_served_only_if_asked(chart, command_line):
    for asked, expected in (({}, "none"), ({"server": {"engines": "all"}}, "all")):
        (deployment,) = [d for d in chart(**asked) if d["kind"] == "Deployment"]
        (renderer,) = deployment["spec"]["template"]["spec"]["initContainers"]
        assert command_line.parse_args(renderer["args"]).engines == expected


def test_shared_memory_holds_a_case_twice_and_a_raw_image(values):
    gibibytes = int(values["sharedMemory"].removesuffix("Gi"))
    limits = values["limits"]
    needed = 2 * limits["caseBytes"] + 3 * limits["pixels"]
    assert needed < gibibytes * 2**30


def test_the_server_reads_what_the_renderer_wrote(pod, command_line):
    written = command_line.parse_args(pod["initContainers"][0]["args"]).out
    read = command_line.parse_args(pod["containers"][0]["args"]).repository
    assert written == read
    mounts = {m["mountPath"]: m for m in pod["containers"][0]["volumeMounts"]}
    assert mounts["/repository"]["readOnly"] is True


def test_the_probes_ask_at_the_ports_and_paths_of_triton(pod):
    (server,) = pod["containers"]
    asked = {
        kind: server[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert asked == {
        "startup": {"path": "/v2/health/ready", "port": "http"},
        "liveness": {"path": "/v2/health/live", "port": "http"},
        "readiness": {"path": f"/v2/models/{MODEL}/ready", "port": "http"},
    }
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= ServeOptions().start_seconds


def test_a_pod_has_time_for_gateways_cases_and_the_servers_end(pod, command_line, values):
    drain = command_line.parse_args(pod["containers"][0]["args"]).drain_seconds
    assert drain == values["drain"]["cases"] >= values["limits"]["seconds"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    left = inspect.signature(RunningServer.stop).parameters["kill_after_s"].default
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + left + 15


def test_routes_let_pass_what_a_client_needs_and_nothing_else(chart):
    documents = {d["kind"]: d for d in chart(**EVERYTHING)}
    (rule,) = documents["GRPCRoute"]["spec"]["rules"]
    assert {(m["method"]["service"], m["method"]["method"]) for m in rule["matches"]} == {
        ("inference.GRPCInferenceService", method)
        for method in ("ModelStreamInfer", "ServerLive", "ServerReady", "ModelReady")
    }
    (rule,) = documents["HTTPRoute"]["spec"]["rules"]
    assert {(m["method"], m["path"]["type"], m["path"]["value"]) for m in rule["matches"]} == {
        ("GET", "Exact", "/v2/health/live"),
        ("GET", "Exact", "/v2/health/ready"),
        ("GET", "Exact", f"/v2/models/{MODEL}/ready"),
        ("POST", "Exact", f"/v2/models/{MODEL}/generate_stream"),
    }


def test_the_two_routes_do_not_share_a_host(chart):
    routes = [d for d in chart(**EVERYTHING) if d["kind"].endswith("Route")]
    hosts = [host for route in routes for host in route["spec"]["hostnames"]]
    assert len(hosts) == len(set(hosts)) == 2


def test_gateways_wait_longer_than_the_longest_case(chart, deploy, values):
    (route,) = [d for d in chart(**EVERYTHING) if d["kind"] == "HTTPRoute"]
    text = (deploy / "gateway/envoy-gateway.yaml").read_text(encoding="utf-8")
    policies = [d["spec"] for d in yaml.safe_load_all(text) if d["kind"] == "BackendTrafficPolicy"]
    waits = [
        route["spec"]["rules"][0]["timeouts"]["request"],
        *(spec["timeout"]["http"]["requestTimeout"] for spec in policies if "timeout" in spec),
    ]
    assert len(waits) == 2
    assert all(int(wait.removesuffix("s")) > values["limits"]["seconds"] for wait in waits)
    # Envoy ends a stream after five silent minutes.
    assert values["limits"]["seconds"] < 300


def test_the_largest_case_passes_the_example_gateway(deploy, values):
    text = (deploy / "gateway/envoy-gateway.yaml").read_text(encoding="utf-8")
    (size,) = re.findall(r"requestBuffer:\n +limit: (\d+)Mi", text)
    assert values["limits"]["caseBytes"] * 4 / 3 < int(size) * 2**20 <= ServeOptions().http_bytes


def test_the_chart_is_of_this_version_of_vera(deploy):
    chart = yaml.safe_load((deploy / "helm/vera/Chart.yaml").read_text(encoding="utf-8"))
    with (deploy.parent / "pyproject.toml").open("rb") as file:
        assert chart["appVersion"] == tomllib.load(file)["project"]["version"]
