"""Requests and events go there and back; what is no request is told in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vera.case.request import CaseRequest
from vera.check import Row
from vera.client.agreement import longest
from vera.engines.checks import mapped
from vera.errors import BusyError, EngineError, ServerError, UsageError
from vera.key import CaseKey
from vera.report import PhotoReport
from vera.settings import Settings
from vera.wire import event as events
from vera.wire import failure
from vera.wire.request import WirePhoto, WireRequest, from_tensors, to_tensors
from vera.wire.server import Limits, ServedBundle, ServerContract, differences
from vera.wire.tensors import INPUTS, OUTPUTS

KEY = CaseKey(bytes(range(32)), "A-17").derived()
PEOPLE = np.arange(6, dtype=np.float32).reshape(2, 3)


def _request(**changes):
    photos = (WirePhoto(b"file", "mouth", b"mask"), WirePhoto(bytes(12), shape=(2, 2, 3)))
    settings = Settings(variants=2, preserve=("age",), keep_margin="3px", separation=0.5)
    asked = WireRequest(photos=photos, settings=settings, seed=None, key=KEY, people=PEOPLE)
    return replace(asked, deadline_s=2.5, images="raw", persons=True, bundle="d" * 64, **changes)


@pytest.mark.parametrize("base64", [False, True])
def test_request_goes_there_and_back(base64):
    asked = _request(base64=base64)
    tensors = to_tensors(asked)
    assert set(tensors) == {tensor.name for tensor in INPUTS}
    got = from_tensors(tensors)
    assert np.array_equal(got.people, PEOPLE)
    assert replace(got, people=None).__repr__() == replace(asked, people=None).__repr__()
    assert [p.data for p in got.photos] == [b"file", bytes(12)]
    assert (got.photos[0].mask, got.key.value) == (b"mask", KEY.value)
    assert got.photos[1].image().shape == (2, 2, 3)


def test_neither_key_nor_bytes_are_printed():
    asked = _request()
    assert KEY.value.hex() not in repr(asked)
    assert "file" not in repr(asked)


def test_request_without_options_takes_the_defaults():
    got = from_tensors({"OPTIONS": [b'{"protocol": 1}'], "PHOTOS": [b"a", b"b"]})
    assert got.settings == Settings()
    assert [photo.keep for photo in got.photos] == ["none", "none"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (None, "OPTIONS"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "JSON object"),
        (b"{}", "protocol"),
        ({"protocol": 2}, "protocol 1, got 2"),
        ({"task": "erase"}, "task"),
        ({"task": ["describe"]}, "task"),
        ({"photos": [{}, {}]}, "describes 2"),
        ({"photos": "x"}, "list of objects"),
        ({"photos": [{"mask": 0}]}, "0 MASKS"),
        ({"photos": [{"mask": -1}]}, "0 MASKS"),
        ({"photos": [{"keep": 7}]}, "'keep'"),
        ({"photos": [{"keep": "beard"}]}, "no region"),
        ({"photos": [{"shape": [2, 2]}]}, "'shape'"),
        ({"photos": [{"shape": [9, 9, 3]}]}, "has 4 bytes"),
        ({"photos": [{"shape": [-1, 4, 3]}]}, "'shape'"),
        ({"base64": True}, "base64"),
        ({"base64": 1}, "base64"),
        ({"settings": []}, "'settings'"),
        ({"settings": {"stepss": 3}}, "no setting"),
        ({"settings": {"steps": "many"}}, "'steps'"),
        ({"settings": {"steps": True}}, "'steps'"),
        ({"settings": {"preserve": "age"}}, "'preserve'"),
        ({"settings": {"frame": "round"}}, "frame"),
        ({"seed": 1.5}, "'seed'"),
        ({"key": "12"}, "32 bytes"),
        ({"key": "zz"}, "hexadecimal"),
        ({"key": 5}, "hexadecimal"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": "soon"}, "deadline_s"),
        ({"images": "bmp"}, "images"),
        ({"bundle": 3}, "bundle"),
    ],
)
def test_what_is_no_request_is_told_in_a_sentence(options, word):
    tensors = {"PHOTOS": [b"a?!~"]}
    if isinstance(options, dict):
        options = json.dumps({"protocol": 1, **options}).encode()
    if options is not None:
        tensors["OPTIONS"] = [options]
    with pytest.raises(UsageError) as told:
        from_tensors(tensors)
    assert word in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("people", [np.array([[np.nan]], np.float32), PEOPLE[0], [b"1"]])
def test_people_that_are_no_embeddings_are_refused(people):
    with pytest.raises(UsageError, match="PEOPLE"):
        from_tensors({"OPTIONS": [b'{"protocol": 1}'], "PEOPLE": people})


def test_client_cannot_name_a_file_of_the_server(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"secret")
    options = json.dumps({"protocol": 1, "photos": [{"keep": str(path)}]}).encode()
    with pytest.raises(UsageError, match="no region"):
        from_tensors({"OPTIONS": [options], "PHOTOS": [b"a"]})


@pytest.mark.slow
@pytest.mark.parametrize("base64", [False, True])
def test_report_of_a_real_case_comes_back_as_it_was(base64):
    from skimage.data import astronaut

    from vera import Anonymizer

    photo = np.ascontiguousarray(astronaut()[:300, 80:380])
    with Anonymizer(threads=2) as anonymizer:
        result = anonymizer.anonymize([photo], keep="mouth", seed=7, steps=0)[0]
    assert result.report.verdict == "anonymized"
    sent = events.ResultEvent(0, 1, result.report, b"\x89PNG", (300, 300, 3), result.person)
    got = events.from_tensors(events.to_tensors(sent, base64=base64), base64=base64)
    assert got.report == result.report
    assert np.array_equal(got.person, result.person)
    assert (got.index, got.count, got.image, got.shape) == (0, 1, b"\x89PNG", (300, 300, 3))


def test_every_other_event_comes_back_as_it_was():
    served = ServedBundle("vera", "1", "d" * 64, {"parser": "a" * 64})
    server = ServerContract(served, Limits(photos=3), slots=2, queue=5, vera="0.1")
    for event in (
        events.Progress("invert", 0.25),
        events.Described(server),
        events.Checked((Row("engines", "all run"), Row("loss", "differs", ok=False))),
        events.Done(0.5, 1.25, 41),
    ):
        tensors = events.to_tensors(event)
        assert set(tensors) <= {tensor.name for tensor in OUTPUTS}
        assert events.from_tensors(tensors) == event


@pytest.mark.parametrize(
    "event", [b"", b"[]", b'{"event": "other"}', b'{"event": "progress"}', b'{"event": "result"}']
)
def test_event_that_is_none_is_a_server_error(event):
    with pytest.raises(ServerError, match="update the older"):
        events.from_tensors({"EVENT": [event]})


def _refused_as_told():
    report = PhotoReport("refused", "single", 1, bundle=None)
    return report, json.loads(events.to_tensors(events.ResultEvent(0, 1, report))["EVENT"][0])


def test_report_of_a_later_server_is_read_as_far_as_it_is_known():
    report, told = _refused_as_told()
    told["report"]["later"] = 1
    told["report"]["kept"]["later"] = {"more": 2}
    assert events.from_tensors({"EVENT": [json.dumps(told).encode()]}).report == report


def test_report_that_lacks_what_is_needed_is_a_server_error():
    _, told = _refused_as_told()
    told["report"]["faces"] = [{"new": 1}]
    with pytest.raises(ServerError, match="another version"):
        events.from_tensors({"EVENT": [json.dumps(told).encode()]})


def test_errors_keep_class_and_sentence():
    sent = BusyError("All slots are taken; try again later.")
    text = failure.to_text(sent)
    assert text == "BusyError: All slots are taken; try again later."
    got = failure.from_text(f"[request id: 3] in model 'anonymize', {text}")
    assert (type(got), str(got)) == (BusyError, str(sent))
    assert failure.code_of(sent) == "UNAVAILABLE"


def test_words_of_a_library_stay_on_the_server():
    with pytest.raises(EngineError) as caught, mapped("parser"):
        raise RuntimeError("/srv/models/parser.onnx is no model")
    assert "/srv/models" in str(caught.value)
    told = failure.to_text(caught.value)
    assert told.startswith("EngineError: Engine parser failed (RuntimeError); run vera check")
    assert "/srv" not in told
    assert isinstance(failure.from_text(told), EngineError)


def test_error_that_is_not_ours_tells_its_class_alone():
    text = failure.to_text(OSError("/home/jane_doe/photo.jpg"))
    assert "jane_doe" not in text
    assert type(failure.from_text(text)) is EngineError
    assert type(failure.from_text("unexpected inference input 'X'\nfor model")) is ServerError
    assert type(failure.from_text("")) is ServerError


def test_differences_of_a_server_are_named():
    server = ServerContract(ServedBundle("vera", "1", "d" * 64, {}))
    assert differences(server) == []
    assert differences(server, "d" * 64) == []
    odd = replace(server, protocol=2, contract=9)
    assert differences(odd, "e" * 64) == [
        "protocol 2, not 1",
        "engine contract 9, not 1",
        "bundle dddddddddddd, not eeeeeeeeeeee",
    ]


def test_contract_of_a_later_server_is_read_as_far_as_it_is_known():
    served = ServerContract(ServedBundle("vera", "1", "d" * 64, {}))
    told = served.to_json()
    told["later"] = told["limits"]["later"] = told["bundle"]["later"] = 1
    assert ServerContract.from_json(told) == served
    with pytest.raises(ServerError, match="not understood"):
        ServerContract.from_json({"protocol": 1})


def test_attempt_without_a_deadline_ends_soon_after_the_server_s_limit():
    server = ServerContract(ServedBundle("vera", "1", "d" * 64, {}), Limits(seconds=20.0))
    assert longest(None, server) == pytest.approx(30.0)
    assert longest(4.0, server) == 4.0
    assert longest(None, None) is None


def test_people_that_are_not_finite_are_refused_before_a_photograph_is_read():
    with pytest.raises(UsageError, match="distinct_from"):
        CaseRequest([b"no photo"], people=np.array([[np.nan]], np.float32)).open()
