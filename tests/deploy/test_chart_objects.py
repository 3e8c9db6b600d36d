"""The chart, rendered by Helm's engine, against Kubernetes' schemas and pod security standards."""

import copy
import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

# The oldest and a recent version that the chart names.
KUBERNETES = ("1.30", "1.34")
# Kinds of other makers, whose schemas Kubernetes does not have.
OTHERS = {"ServiceMonitor", "PrometheusRule", "GRPCRoute", "HTTPRoute"}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "gpu": {
        "server": {"device": "gpu", "backend": "onnxruntime", "threads": 4},
        "runtimeClassName": "nvidia",
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"},
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    },
    "everything": {
        "image": {"repository": "registry.example.org/vera", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "registry"}],
        "autoscaling": {"enabled": True},
        "gateway": {
            "enabled": True,
            "namespace": "vera-gateway",
            "grpcHostname": "vera.example.org",
            "httpHostname": "vera-http.example.org",
        },
        "monitoring": {"serviceMonitor": True, "alerts": True, "labels": {"release": "prometheus"}},
        "adminSecret": "vera-admin",
        "bundle": {"claim": "vera-bundle"},
        "podAnnotations": {"example.org/owner": "radiology"},
        "affinity": {"podAntiAffinity": {}},
    },
    "repository of a claim": {"repository": {"claim": "plans", "path": "models"}},
    "bare": {"networkPolicy": {"enabled": False}, "disruptionBudget": {"enabled": False}},
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def documents(request, chart):
    return chart(**copy.deepcopy(CASES[request.param]))


def pods(documents):
    return [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_what_kubernetes_expects(documents, version):
    for document in documents:
        if document["kind"] not in OTHERS:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_would_be_noticed(chart):
    deployment = next(d for d in chart() if d["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


def test_pods_keep_to_the_restricted_level_with_a_read_only_root(documents):
    for pod in pods(documents):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_shared_memory_is_the_pods_own_and_within_its_memory(documents):
    (pod,) = pods(documents)
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    shared = volumes[mounts["/dev/shm"]]["emptyDir"]
    assert shared["medium"] == "Memory"
    memory = pod["containers"][0]["resources"]["limits"]["memory"]
    assert 2 * gibibytes(shared["sizeLimit"]) <= gibibytes(memory)


def gibibytes(size):
    return int(size[:-2]) * {"Mi": 2**-10, "Gi": 1, "Ti": 2**10}[size[-2:]]


def test_nothing_of_the_server_is_reachable_from_outside_the_cluster(documents):
    services = [d for d in documents if d["kind"] == "Service"]
    assert len(services) == 2
    assert all(service["spec"]["type"] == "ClusterIP" for service in services)
    assert not any("nodePort" in json.dumps(d) or d["kind"] == "Ingress" for d in documents)


def test_pods_ask_nobody_and_only_gateways_and_monitoring_reach_them(chart):
    (policy,) = [d for d in chart() if d["kind"] == "NetworkPolicy"]
    assert policy["spec"]["egress"] == []
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    allowed = [{port["port"] for port in rule["ports"]} for rule in policy["spec"]["ingress"]]
    assert allowed == [{"http", "grpc"}, {"metrics"}]
    assert all(rule["from"][0]["namespaceSelector"] for rule in policy["spec"]["ingress"])


def test_selectors_find_the_pods(documents):
    (deployment,) = [d for d in documents if d["kind"] == "Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for document in documents:
        selector = document["spec"].get("selector") if "spec" in document else None
        if selector and document["kind"] != "ServiceMonitor":
            assert selector.get("matchLabels", selector).items() <= labels


def test_the_monitor_finds_the_service_of_the_metrics_only(chart):
    documents = chart(monitoring={"serviceMonitor": True})
    (monitor,) = [d for d in documents if d["kind"] == "ServiceMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [d for d in documents if d["kind"] == "Service"]
    found = [s for s in services if wanted <= s["metadata"]["labels"].items()]
    assert [port["name"] for s in found for port in s["spec"]["ports"]] == ["metrics"]


def test_no_secret_is_written_only_named(documents, deploy):
    assert not any(document["kind"] == "Secret" for document in documents)
    values = (deploy / "helm/vera/values.yaml").read_text(encoding="utf-8")
    secrets = {"password", "token", "private"}
    assert not secrets & set(values.lower().replace(":", " ").split())


def test_the_digest_is_taken_before_the_tag(chart):
    image = {"repository": "registry.example.org/vera", "tag": "1", "digest": "sha256:" + "1" * 64}
    (pod,) = pods(chart(image=image))
    assert {c["image"] for c in containers(pod)} == {f"{image['repository']}@{image['digest']}"}


def test_a_gpu_is_given_to_the_server_alone(chart):
    (pod,) = pods(chart(server={"device": "gpu"}))
    (server,), (renderer,) = pod["containers"], pod["initContainers"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in renderer["resources"]["limits"]


@pytest.fixture
def example(deploy):
    """The objects of the example gateway."""
    text = (deploy / "gateway/envoy-gateway.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


@pytest.fixture
def joined(example, chart):
    """Gateway and routes by their kind, as they are when the chart is installed as documented."""
    (gateway,) = [d for d in example if d["kind"] == "Gateway"]
    where = {
        "enabled": True,
        "namespace": gateway["metadata"]["namespace"],
        "grpcHostname": "vera.example.org",
        "httpHostname": "vera-http.example.org",
    }
    routes = {d["kind"]: d for d in chart(gateway=where) if d["kind"].endswith("Route")}
    for route in routes.values():
        name = route["metadata"]["name"].replace("clinic", "vera")
        route["metadata"] = {"name": name, "namespace": "vera"}
    return {"Gateway": gateway, **routes}


def test_the_example_gateway_is_where_the_chart_looks_for_it(joined):
    gateway = joined["Gateway"]["metadata"]
    for kind in ("GRPCRoute", "HTTPRoute"):
        assert joined[kind]["spec"]["parentRefs"] == [
            {"name": gateway["name"], "namespace": gateway["namespace"]}
        ]


def test_the_policies_of_the_example_act_on_what_is_there(example, joined):
    policies = [d for d in example if d["kind"].endswith("Policy")]
    assert len(policies) == 4
    for policy in policies:
        (target,) = policy["spec"]["targetRefs"]
        found = joined[target["kind"]]["metadata"]
        assert (target["name"], policy["metadata"]["namespace"]) == (
            found["name"],
            found["namespace"],
        )


def test_no_client_of_the_example_takes_all_places(example):
    specs = [d["spec"] for d in example if d["kind"].endswith("Policy")]
    (client,) = [spec for spec in specs if "http2" in spec]
    # Set from the certificate: a client cannot say that it is somebody else.
    assert client["headers"]["xForwardedClientCert"] == {"mode": "SanitizeSet"}
    (limits,) = [spec["rateLimit"]["local"]["rules"] for spec in specs if "rateLimit" in spec]
    ((selector,),) = [rule["clientSelectors"] for rule in limits]
    assert selector["headers"] == [{"name": "x-forwarded-client-cert", "type": "Distinct"}]


def test_the_example_buffers_no_streams_of_grpc(example):
    kinds = [d["spec"]["targetRefs"][0]["kind"] for d in example if "requestBuffer" in str(d)]
    assert kinds == ["HTTPRoute"]
