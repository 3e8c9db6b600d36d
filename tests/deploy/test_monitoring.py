"""Alerts, autoscaling and the adapter speak of metrics that the server has."""

import re
import shutil
import subprocess

import promql_parser
import pytest
import yaml

from vera.serving.metrics import FAMILIES

# What a family is called when it is asked for, and the values of its label.
SERIES = {
    f"{family.name}{suffix}": family
    for family in FAMILIES
    for suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
}
PROMETHEUS_OWN = {"up"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, which is no Python package"
)


@pytest.fixture
def rules_file(deploy):
    return deploy / "helm/vera/files/alerts.yaml"


@pytest.fixture
def rules(rules_file):
    groups = yaml.safe_load(rules_file.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selectors(expression):
    """Every series that an expression asks for, with what is asked of its labels."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def test_every_alert_is_an_expression_of_metrics_that_exist(rules):
    for rule in rules:
        asked = selectors(rule["expr"])
        assert asked, rule["alert"]
        assert {selector.name for selector in asked} <= set(SERIES) | PROMETHEUS_OWN, rule["alert"]


def test_labels_are_asked_for_values_that_they_can_have(rules):
    seen = set()
    for rule in rules:
        for selector in selectors(rule["expr"]):
            family = SERIES.get(selector.name)
            for label, value in re.findall(r'(\w+)="(\w+)"', str(selector.matchers)):
                if family is not None:
                    assert label == family.label
                    assert value in family.values
                    seen.add(value)
    assert {"rejected", "failed", "deadline", "refused"} <= seen


def test_alerts_say_what_to_do_and_how_bad_it_is(rules):
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_job_of_the_alerts_is_the_one_that_the_monitor_gives(rules, chart):
    documents = chart(monitoring={"serviceMonitor": True})
    (monitor,) = [d for d in documents if d["kind"] == "ServiceMonitor"]
    label = monitor["spec"]["jobLabel"]
    services = [d for d in documents if d["kind"] == "Service"]
    assert {service["metadata"]["labels"][label] for service in services} == {"vera"}
    (down,) = [rule for rule in rules if rule["alert"] == "VeraDown"]
    assert down["expr"] == 'up{job="vera"} == 0'


def test_the_charts_rules_are_the_file(chart, rules_file):
    documents = chart(monitoring={"alerts": True})
    (rule,) = [d for d in documents if d["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load(rules_file.read_text(encoding="utf-8"))


def test_the_autoscaler_asks_for_what_the_adapter_gives(chart, deploy):
    documents = chart(autoscaling={"enabled": True})
    (scaler,) = [d for d in documents if d["kind"] == "HorizontalPodAutoscaler"]
    (metric,) = scaler["spec"]["metrics"]
    text = (deploy / "monitoring/prometheus-adapter.yaml").read_text(encoding="utf-8")
    (rule,) = yaml.safe_load(text)["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    (series,) = selectors(rule["seriesQuery"])
    assert SERIES[series.name].kind == "gauge"
    query = rule["metricsQuery"]
    for placeholder, meant in {
        "<<.Series>>": series.name,
        "<<.LabelMatchers>>": 'namespace="vera",pod="a"',
        "<<.GroupBy>>": "pod",
    }.items():
        assert placeholder in query
        query = query.replace(placeholder, meant)
    assert [selector.name for selector in selectors(query)] == [series.name]


def test_an_autoscaled_deployment_has_no_number_of_its_own(chart):
    for scaled in (False, True):
        documents = chart(autoscaling={"enabled": scaled})
        (deployment,) = [d for d in documents if d["kind"] == "Deployment"]
        assert ("replicas" in deployment["spec"]) is not scaled


@needs_promtool
def test_the_alerts_ring_when_they_should(deploy, rules_file):
    for command in (
        ["promtool", "check", "rules", str(rules_file)],
        ["promtool", "test", "rules", str(deploy / "monitoring/alerts.test.yaml")],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
