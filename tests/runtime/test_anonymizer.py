import numpy as np
import pytest

from vera import Anonymizer
from vera.anonymizer import Result
from vera.bundle import load_bundle
from vera.case.local import LocalCases
from vera.errors import BundleError, ShapeError, UsageError


@pytest.fixture
def anonymizer(bundle_folder, fake_engines):
    with Anonymizer.over(LocalCases(load_bundle(bundle_folder), engines=fake_engines)) as made:
        yield made


def test_one_result_per_photograph_in_order(anonymizer, fakes, tmp_path):
    missing = tmp_path / "missing.png"
    results = anonymizer.anonymize([fakes.draw_photo(), missing], seed=1, steps=0)
    assert all(isinstance(result, Result) for result in results)
    assert results[0].image.shape == (320, 320, 3)
    assert results[1].image is None
    assert results[1].report.reason == "unreadable-photo"


@pytest.mark.parametrize("content", [b"no image", b"", None])
def test_report_never_names_the_photograph(anonymizer, tmp_path, content):
    path = tmp_path / "jane_doe.png"
    if content is not None:
        path.write_bytes(content)
    report = anonymizer.anonymize([path], seed=1)[0].report
    assert report.verdict == "refused"
    assert report.message.startswith("The photograph ")
    assert "jane_doe" not in report.to_json()


@pytest.mark.parametrize("written", ["{0}/./jane_doe.png", "{0}//jane_doe.png"])
def test_report_never_names_a_photograph_whose_path_is_written_oddly(anonymizer, tmp_path, written):
    report = anonymizer.anonymize([written.format(tmp_path)], seed=1)[0].report
    assert report.verdict == "refused"
    assert "jane_doe" not in report.to_json()


def test_report_never_names_the_mask(anonymizer, fakes, tmp_path):
    path = tmp_path / "jane_doe_mask.png"
    path.write_bytes(b"no image")
    report = anonymizer.anonymize([fakes.draw_photo()], keep=path, seed=1)[0].report
    assert report.reason == "unusable-mask"
    assert report.message.startswith("The mask ")
    assert "jane_doe" not in report.to_json()


def test_seed_is_drawn_and_reported_when_none_is_given(anonymizer, fakes):
    photo = fakes.draw_photo()
    first, second = (anonymizer.anonymize([photo], steps=0)[0] for _ in range(2))
    assert first.report.seed != second.report.seed
    again = anonymizer.anonymize([photo], steps=0, seed=first.report.seed)[0]
    assert np.array_equal(again.image, first.image)


def test_steps_limit_the_inversion(anonymizer, fakes):
    report = anonymizer.anonymize([fakes.draw_photo()], seed=1, steps=2)[0].report
    assert report.inversion.steps <= 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"photos": []}, "at least one photograph"),
        ({"photos": "photo.png"}, r"pass \[photo\]"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"faces": "some"}, "faces must be"),
        ({"steps": -1}, "steps must be"),
        ({"keep": "elbow"}, "no region to keep"),
        ({"keep": ["mouth", "nose"]}, "one for each of the 1"),
    ],
)
def test_senseless_request_is_a_usage_error(anonymizer, fakes, settings, said):
    with pytest.raises(UsageError, match=said):
        anonymizer.anonymize(**{"photos": [fakes.draw_photo()], **settings})


@pytest.mark.parametrize("wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3))])
def test_array_that_is_no_photograph_is_a_shape_error(anonymizer, wrong):
    with pytest.raises(ShapeError, match="uint8"):
        anonymizer.anonymize([wrong])


def test_missing_bundle_is_said_when_it_is_opened(tmp_path):
    with pytest.raises(BundleError):
        Anonymizer(tmp_path / "nothing")


def test_progress_tells_stages(anonymizer, fakes):
    told = []
    anonymizer.anonymize(
        [fakes.draw_photo()], seed=1, steps=1, progress=lambda stage, done: told.append(stage)
    )
    assert list(dict.fromkeys(told)) == ["find", "invert", "draw", "done"]
