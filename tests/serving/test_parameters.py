"""Parameters of config.pbtxt and limits of requests."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vera.errors import UsageError
from vera.serving.limits import check_request, check_sizes
from vera.serving.parameters import Parameters, read_parameters
from vera.settings import Settings
from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import Limits

_BUNDLE = SimpleNamespace(digest="d" * 64, engines=("encoder",))


def read(**values):
    parameters = {name: {"string_value": value} for name, value in values.items()}
    return read_parameters(json.dumps({"parameters": parameters}), Path("/models/anonymize"))


def test_parameters_left_out_or_empty_are_the_defaults():
    assert read_parameters("{}", Path("/models")) == Parameters()
    assert read(bundle="", threads="", slots="") == Parameters()


def test_parameters_are_read():
    got = read(bundle="1/bundle", slots="3", threads="2", device="cuda", max_seconds="1.5")
    assert got.bundle == Path("/models/anonymize/1/bundle")
    assert (got.slots, got.threads, got.device) == (3, 2, "cuda")
    assert got.limits == Limits(seconds=1.5)
    assert read(max_case_bytes="7").limits == Limits(case_bytes=7)


def test_absolute_bundle_stays_where_it_is():
    assert read(bundle="/srv/bundle").bundle == Path("/srv/bundle")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slots", "0"),
        ("slots", "many"),
        ("queue", "-1"),
        ("device", "tpu"),
        ("max_seconds", "nan"),
        ("max_photos", "0"),
        ("slotts", "1"),
    ],
)
def test_senseless_parameter_is_refused_by_name(name, value):
    with pytest.raises(UsageError, match=name):
        read(**{name: value})


def png(width, height):
    encoded = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (WireRequest(photos=(WirePhoto(png(11, 10)),)), "Photo 1 has 110 pixels"),
        (WireRequest(photos=(WirePhoto(b""), WirePhoto(png(11, 10)))), "Photo 2 has 110 pixels"),
        (WireRequest(photos=(WirePhoto(b"", mask=png(11, 10)),)), "The mask of photo 1 has 110"),
        (WireRequest(photos=(WirePhoto(bytes(330), shape=(10, 11, 3)),)), "Photo 1 has 110"),
        (WireRequest(photos=(WirePhoto(bytes(1001)),)), "Photo 1 has 1001 bytes"),
        (WireRequest(photos=(WirePhoto(b"", mask=bytes(1001)),)), "The mask of photo 1 has 1001"),
        (WireRequest(photos=(WirePhoto(b""),) * 4), "3 photographs at most"),
        (WireRequest(settings=Settings(variants=3)), "3 variants"),
        (WireRequest(settings=Settings(steps=51)), "51 steps"),
        (WireRequest(bundle="e" * 64), "another one was asked for"),
    ],
)
def test_request_beyond_a_limit_is_refused(request_, said):
    limits = Limits(bytes=1000, pixels=100, photos=3, variants=2, steps=50)
    with pytest.raises(UsageError, match=said):
        check_request(request_, limits, _BUNDLE)


def test_request_at_its_limits_is_taken():
    photo = WirePhoto(bytes(300), mask=png(10, 10), shape=(10, 10, 3))
    request = WireRequest(photos=(photo,) * 3, settings=Settings(steps=50), bundle="d" * 64)
    check_request(request, Limits(bytes=1000, pixels=100, photos=3, steps=50), _BUNDLE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"photos": (WirePhoto(bytes(301)),) * 2}, "have 602 bytes, more than the 600"),
        ({"photos": (WirePhoto(bytes(301), mask=bytes(300)),)}, "have 601 bytes"),
        ({"photos": (WirePhoto(bytes(300), shape=(10, 10, 3)),) * 2}, "200 pixels and 1 variants"),
        (
            {
                "photos": (WirePhoto(bytes(300), shape=(10, 10, 3)),),
                "settings": Settings(variants=2),
            },
            "100 pixels and 2 variants",
        ),
    ],
)
def test_case_that_is_too_large_as_a_whole_is_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        check_request(WireRequest(**changes), Limits(case_bytes=600, case_pixels=199), _BUNDLE)


def test_mask_that_is_the_photograph_counts_its_pixels_once():
    both = png(10, 10)
    request = WireRequest(photos=(WirePhoto(both, mask=both),))
    check_request(request, Limits(pixels=100, case_pixels=100), _BUNDLE)


def test_tuned_default_of_steps_counts_against_the_limit():
    with pytest.raises(UsageError, match="40 steps"):
        check_request(WireRequest(), Limits(steps=39), _BUNDLE)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"PHOTOS": [b""] * 4}, "PHOTOS holds 4"),
        ({"MASKS": [b"x" * 140]}, "MASKS has 140 bytes"),
        ({"PEOPLE": np.zeros((26, 1), np.float32)}, "PEOPLE has 104 bytes"),
        ({"PHOTOS": [bytes(100)] * 2, "MASKS": [bytes(100)] * 2}, "have 400 bytes"),
    ],
)
def test_what_is_too_large_to_be_parsed_is_refused(tensors, said):
    with pytest.raises(UsageError, match=said):
        check_sizes(tensors, Limits(bytes=100, photos=3, case_bytes=100))


@pytest.mark.parametrize(
    ("given", "slots"), [({"threads": "3"}, 3), ({"device": "cuda"}, 8), ({"slots": "5"}, 5)]
)
def test_slots_that_nobody_chose_follow_cores_or_gpu(given, slots):
    assert read(**given).slots == slots
