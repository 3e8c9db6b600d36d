"""The model on a real tritonserver: what a client gets is what it would get in process."""

import base64
import io
import json
import time
import urllib.error
import urllib.request

import local_case
import numpy as np
import pytest
from PIL import Image

from vera.bundle import load_bundle
from vera.serving.metrics import FAMILIES
from vera.wire import request as requests
from vera.wire.event import Checked, Described, Done, Progress, ResultEvent
from vera.wire.request import WirePhoto, WireRequest


def test_server_describes_itself(client):
    answer = client.ask(WireRequest(task="describe"))
    (described,) = answer.of(Described)
    assert described.server.bundle.digest == load_bundle().digest
    assert (described.server.slots, described.server.queue) == (2, 1)
    assert described.server.limits.photos == 2
    assert answer.error is None


def test_deep_check_finds_nothing_wrong(client):
    (checked,) = client.ask(WireRequest(task="check")).of(Checked)
    assert [row.name for row in checked.rows if not row.ok] == []
    assert {"engines", "inversion"} <= {row.name for row in checked.rows}
    assert "bundle folder" not in {row.name for row in checked.rows}


def test_case_is_the_same_as_in_process(client, case, photo_file, in_process):
    ((image, report, person),) = in_process[0]
    answer = client.ask(case(WirePhoto(photo_file, "mouth"), steps=2, persons=True))
    assert answer.error is None
    (result,) = answer.of(ResultEvent)
    assert np.asarray(Image.open(io.BytesIO(result.image))).tobytes() == image
    assert local_case.timeless(result.report) == local_case.timeless(report)
    assert result.person.tobytes() == person


def test_pair_with_variants_is_the_same_as_in_process(
    client, case, photo_file, mask_file, portrait, in_process
):
    photos = (
        WirePhoto(photo_file, "mouth"),
        WirePhoto(portrait.tobytes(), mask=mask_file, shape=portrait.shape),
    )
    answer = client.ask(case(*photos, seed=11, images="raw", settings={"variants": 2}))
    results = answer.of(ResultEvent)
    assert [(result.index, result.count) for result in results] == [(i, 4) for i in range(4)]
    for result, (image, report, _) in zip(results, in_process[1], strict=True):
        assert image is not None
        assert result.shape == (256, 256, 3)
        assert result.image == image
        assert local_case.timeless(result.report) == local_case.timeless(report)
        assert result.person is None


def test_stream_tells_progress_then_results_then_done(client, case):
    events = client.ask(case()).events
    kinds = [type(event) for event in events]
    assert kinds.index(ResultEvent) == kinds.count(Progress) > 2
    assert kinds[-2:] == [ResultEvent, Done]
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert events[-1].steps >= 1
    assert events[-1].work_s > 0


def test_progress_is_left_out_if_nobody_asked(client, case):
    assert client.ask(case(progress=False)).of(Progress) == []


def test_photograph_without_a_face_is_a_refused_result(client, case):
    grey = np.full((64, 64, 3), 128, np.uint8)
    (result,) = client.ask(case(WirePhoto(grey.tobytes(), shape=grey.shape))).of(ResultEvent)
    assert (result.report.reason, result.image) == ("no-face", None)


@pytest.mark.parametrize("data", [b"no image", b"", b"\xff\xd8\xff\xe0 cut"])
def test_unreadable_photograph_is_a_refused_result(client, case, data):
    (result,) = client.ask(case(WirePhoto(data))).of(ResultEvent)
    assert (result.report.reason, result.image) == ("unreadable-photo", None)
    assert result.report.message.startswith("The photograph ")


def test_http_gives_the_same_result_as_text(server, client, case, photo_file):
    (wanted,) = client.ask(case()).of(ResultEvent)
    tensors = requests.to_tensors(case(base64=True))
    body = {name: [item.decode() for item in value] for name, value in tensors.items()}
    events = post(server, {**body, "OPTIONS": body["OPTIONS"][0]})
    told = [event for event in events if "IMAGE" in event]
    assert base64.b64decode(told[0]["IMAGE"]) == wanted.image
    assert json.loads(events[-1]["EVENT"])["event"] == "done"


def test_http_people_may_be_sent_as_one_row(server, client, case):
    (first,) = client.ask(case(persons=True)).of(ResultEvent)
    tensors = requests.to_tensors(case(base64=True, persons=True))
    body = {name: [item.decode() for item in value] for name, value in tensors.items()}
    people = [float(number) for number in np.tile(first.person, 2)]
    events = post(server, {**body, "OPTIONS": body["OPTIONS"][0], "PEOPLE": people})
    other = next(np.array(event["PERSON"], np.float32) for event in events if "IMAGE" in event)
    assert first.person @ other < 0.95


def test_all_metrics_are_there_and_count(server, client, case):
    before = server.metrics()
    for family in FAMILIES:
        assert any(name.startswith(family.name) for name in before), family.name
    client.ask(case())
    after = eventually(
        server.metrics,
        lambda now: now["vera_active_slots"] == 0
        and counted(now, "anonymized") == counted(before, "anonymized") + 1,
    )
    for name in ("vera_queue_seconds_count", "vera_case_seconds_count"):
        assert after[name] == before[name] + 1
    assert after['vera_stage_seconds_count{stage="invert"}'] > 0
    assert after["vera_inversion_steps_total"] > before["vera_inversion_steps_total"]
    assert after["vera_gate_cosine_count"] > before["vera_gate_cosine_count"]


def test_log_holds_numbers_and_nothing_else(server, client, case):
    client.ask(case())
    lines = [json.loads(line) for line in server.lines().splitlines() if line.startswith("{")]
    assert lines[0]["event"] == "ready"
    told = eventually(server.lines, lambda text: '"event": "case"' in text)
    done = [json.loads(line) for line in told.splitlines() if '"verdict": "anonymized"' in line]
    keys = [
        "time",
        "event",
        "request",
        "verdict",
        "results",
        "steps",
        "queue_s",
        "work_s",
        "stages",
    ]
    assert all(list(line) == keys for line in done)


def post(server, body):
    """The events of an HTTP stream."""
    request = urllib.request.Request(
        f"{server.http}/v2/models/anonymize/generate_stream", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def counted(metrics, verdict):
    return metrics[f'vera_cases_total{{verdict="{verdict}"}}']


def eventually(read, holds, seconds=10.0):
    """What ``read`` gives once it holds; the server counts after it has answered."""
    ends = time.monotonic() + seconds
    while not holds(value := read()):
        assert time.monotonic() < ends, value
        time.sleep(0.05)
    return value
