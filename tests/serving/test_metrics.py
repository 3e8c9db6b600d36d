"""Metrics, log lines, and the deep check."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import fake_backend
import numpy as np
import pytest

from vera.bundle import load_bundle
from vera.engines import OnnxEngines
from vera.errors import EngineError
from vera.report import BundleReport, PhotoReport
from vera.serving.health import Health
from vera.serving.log import write_line
from vera.serving.metrics import FAMILIES, Metrics
from vera.serving.record import Record, stage_seconds


def test_every_family_is_registered_with_all_its_labels():
    utils = fake_backend.backend()
    Metrics(utils.MetricFamily)
    for family in FAMILIES:
        made = utils.made[family.name]
        assert made.kind == family.kind
        labels = [metric.labels for metric in made.metrics]
        wanted = [{family.label: value} if value else {} for value in family.values]
        assert labels == wanted


def test_histograms_are_two_counters_where_there_are_none():
    utils = fake_backend.backend(histograms=False)
    metrics = Metrics(utils.MetricFamily)
    for seconds in (0.5, 1.5):
        metrics.observe("vera_queue_seconds", seconds)
    metrics.observe("vera_gate_cosine", -0.5)
    assert "vera_queue_seconds" not in utils.made
    assert utils.made["vera_queue_seconds_sum"].metrics[0].value == 2.0
    assert utils.made["vera_queue_seconds_count"].metrics[0].value == 2
    assert utils.made["vera_gate_cosine_sum"].metrics[0].value == 0


def test_stage_that_is_not_known_counts_as_other():
    utils = fake_backend.backend()
    Metrics(utils.MetricFamily).observe("vera_stage_seconds", 2.0, "polish")
    seen = {m.labels["stage"]: m.seen for m in utils.made["vera_stage_seconds"].metrics}
    assert seen["other"] == [2.0]


def test_one_thread_at_a_time_reaches_triton():
    utils = fake_backend.backend()
    metrics = Metrics(utils.MetricFamily)
    inside, most = [], []
    gauge = utils.made["vera_active_slots"].metrics[0]

    def slow(value):
        inside.append(value)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(value)

    gauge.set = slow
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: metrics.set("vera_active_slots", i), range(8)))
    assert most == [1] * 8


def test_shared_stages_count_once():
    def report(photo, variant, **milliseconds):
        bundle = BundleReport("fake", "0", {})
        place = {"photo": photo, "variant": variant}
        return PhotoReport("anonymized", "paired", 1, bundle, milliseconds=milliseconds, **place)

    shared = {"invert": 1000.0}
    reports = [
        report(1, 1, find=100.0, draw=300.0, gate=10.0, **shared),
        report(2, 1, find=200.0, draw=300.0, gate=20.0, **shared),
        report(1, 2, find=100.0, draw=500.0, gate=30.0, **shared),
        report(2, 2, find=200.0, draw=500.0, gate=40.0, **shared),
    ]
    assert stage_seconds(reports) == {"find": 0.3, "draw": 0.8, "gate": 0.1, "invert": 1.0}


def test_lines_are_json_on_standard_error(capsys):
    write_line("ready", slots=2, stages={"find": 0.1})
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["slots"], line["stages"]) == ("ready", 2, {"find": 0.1})


def test_sentence_of_a_usage_error_is_not_logged(capsys):
    from vera.errors import UsageError

    utils = fake_backend.backend()
    Record(Metrics(utils.MetricFamily)).failed("0", UsageError("'jane doe' is no region."))
    line = capsys.readouterr().err
    assert '"verdict": "invalid"' in line
    assert "jane" not in line


class Changing:
    """Engines of which one gives something else from some time on."""

    def __init__(self, engines):
        self._engines, self.layout = engines, engines.layout
        self.changed = lambda name, outputs: outputs

    def run(self, name, **inputs):
        return self.changed(name, self._engines.run(name, **inputs))

    def gradient(self, **kind):
        return self._engines.gradient(**kind)


@pytest.fixture(scope="module")
def engines():
    return OnnxEngines(load_bundle(), threads=1)


def test_deep_check_compares_with_the_start(engines):
    changing = Changing(engines)
    health = Health(load_bundle(), changing, fresh_s=0)
    assert all(row.ok for row in health.rows())
    # An encoder that has gone bad starts the inversion elsewhere.
    changing.changed = lambda name, outputs: (
        {key: value + np.float32(1) for key, value in outputs.items()}
        if name == "encoder"
        else outputs
    )
    rows = {row.name: row for row in health.rows()}
    assert not rows["inversion"].ok
    assert "at the start it was" in rows["inversion"].value


def test_deep_check_tells_a_broken_engine(engines):
    changing = Changing(engines)
    health = Health(load_bundle(), changing)

    def broken(name, outputs):
        raise EngineError(f"{load_bundle().folder}/engine.onnx broke; run vera check.")

    changing.changed = broken
    rows = {row.name: row for row in health.rows()}
    assert not rows["engines"].ok
    assert rows["inversion"].value == "the bundle's folder/engine.onnx broke; run vera check."


def test_deep_check_of_a_moment_ago_is_told_again(engines):
    runs = []
    changing = Changing(engines)
    health = Health(load_bundle(), changing)
    changing.changed = lambda name, outputs: runs.append(name) or outputs
    first = health.rows()
    done = len(runs)
    assert done > 0
    assert health.rows() == first
    assert len(runs) == done
