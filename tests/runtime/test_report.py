import json
from dataclasses import replace

from vera.report import BundleReport, FaceReport, KeptReport, PhotoReport

_BUNDLE = BundleReport("default", "1", {"parser": "0123456789ab"})


def _report(**changes):
    report = PhotoReport(verdict="anonymized", mode="single", seed=7, bundle=_BUNDLE)
    return replace(report, **changes)


def test_json_holds_every_field_and_no_more():
    face = FaceReport((100, 120), 44.0, 0.1, 0.4, 2, True)
    read = json.loads(_report(faces=(face,), keep=("mouth",)).to_json())
    assert read["verdict"] == "anonymized"
    assert read["keep"] == ["mouth"]
    assert read["faces"][0]["identity_cosine"] == 0.1
    assert read["bundle"]["engines"] == {"parser": "0123456789ab"}
    assert set(read) == set(PhotoReport.__slots__)


def test_seed_of_63_bits_survives_json():
    assert json.loads(_report(seed=2**63 - 1).to_json())["seed"] == 2**63 - 1


def test_lossy_file_of_a_kept_region_warns():
    written = _report(kept=KeptReport(10, 0)).as_written(lossy=True)
    assert written.kept.lossy
    assert any("no longer equals" in text for text in written.warnings)


def test_lossy_file_without_a_kept_region_does_not_warn():
    written = _report().as_written(lossy=True)
    assert written.kept.lossy
    assert written.warnings == ()


def test_lossless_file_changes_nothing():
    report = _report(kept=KeptReport(10, 0))
    assert report.as_written(lossy=False) == report
