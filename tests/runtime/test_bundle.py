import json

import numpy as np
import pytest

from vera import contract
from vera.bundle import layout_entries, load_bundle, read_identities
from vera.errors import BundleError


def test_bundle_gives_engines_hashes_and_calibration(fake_bundle):
    assert set(fake_bundle.engines) == set(contract.ENGINES)
    assert all(len(digest) == 64 for digest in fake_bundle.hashes.values())
    assert fake_bundle.gate.cosine_threshold == 0.8
    assert [len(w) for w in fake_bundle.feature_weights] == [c for c, _ in contract.PERCEPTUAL_TAPS]
    assert fake_bundle.identities.codes.shape == (40, 32, 64)
    assert fake_bundle.identities.codes.dtype == np.float32


def test_changed_engine_is_refused(bundle_folder):
    (bundle_folder / "parser.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"parser\.onnx was changed or damaged"):
        load_bundle(bundle_folder)


def test_missing_engine_file_is_refused(bundle_folder):
    (bundle_folder / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"encoder\.onnx cannot be read"):
        load_bundle(bundle_folder)


def test_file_without_a_hash_is_refused(bundle_folder):
    (bundle_folder / "parser.onnx.data").write_bytes(b"weights from elsewhere")
    with pytest.raises(BundleError, match=r"no sha256 for parser\.onnx\.data"):
        load_bundle(bundle_folder)


def test_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_unreadable_manifest_is_refused(bundle_folder, text):
    (bundle_folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(bundle_folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contract": 2}, "another contract"),
        ({"resolution": 512}, "another resolution"),
        ({"classes": ["skin"]}, "another classes"),
        ({"latent": {"rows": 28, "width": 512}}, "another latent"),
        ({"gate": {"cosine_threshold": 0.5}}, "lacks an entry"),
        (
            {"gate": {"cosine_threshold": 1.0, "false_accept_rate": 0.1, "calibration": ""}},
            "must be a cosine",
        ),
        ({"feature_weights": [[1.0]] * 4}, "feature_weights must be"),
        ({"engines": {}}, "lacks an entry"),
        ({"files": None}, "lacks an entry"),
    ],
)
def test_manifest_of_another_kind_is_refused(fakes, tmp_path, changes, said):
    fakes.write_bundle(tmp_path / "other", **changes)
    with pytest.raises(BundleError, match=said):
        load_bundle(tmp_path / "other")


_LARGER = contract.Layout(512, 512, 64, 512, temperature=0.2)


def _without(name: str) -> dict[str, object]:
    return {n: {"file": f"{n}.onnx"} for n in contract.ENGINES if n != name}


def test_layout_of_a_bundle_is_that_of_its_manifest(fakes, tmp_path):
    fakes.write_bundle(tmp_path / "larger", **layout_entries(_LARGER))
    bundle = load_bundle(tmp_path / "larger")
    assert bundle.layout == _LARGER
    with pytest.raises(BundleError, match=r"finite codes of shape \[40, 32, 512\]"):
        _ = bundle.identities


def test_manifest_without_a_layout_has_the_default_one(fake_bundle):
    assert "layout" not in fake_bundle.manifest
    assert fake_bundle.layout == contract.Layout()


@pytest.mark.parametrize("changes", [{"image": 500}, {"latent_width": 0}, {"unknown": 1}])
def test_layout_that_makes_no_sense_is_refused(fakes, tmp_path, changes):
    entries = layout_entries(_LARGER)
    fakes.write_bundle(tmp_path / "odd", **{**entries, "layout": {**entries["layout"], **changes}})
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "odd")


def test_layout_that_contradicts_the_resolution_is_refused(fakes, tmp_path):
    fakes.write_bundle(tmp_path / "odd", **{**layout_entries(_LARGER), "resolution": 256})
    with pytest.raises(BundleError, match="another resolution"):
        load_bundle(tmp_path / "odd")


@pytest.mark.parametrize("name", sorted(contract.ENGINES))
def test_only_optional_engines_may_be_missing(fakes, tmp_path, name):
    fakes.write_bundle(tmp_path / "fewer", engines=_without(name))
    if name in contract.OPTIONAL:
        assert name not in load_bundle(tmp_path / "fewer").engines
    else:
        with pytest.raises(BundleError, match="lacks an entry"):
            load_bundle(tmp_path / "fewer")


def test_file_name_may_not_leave_the_bundle(bundle_folder):
    path = bundle_folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"]["../secret"] = {"sha256": "0" * 64, "bytes": 1}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="not a plain file name"):
        load_bundle(bundle_folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"age": np.full(40, np.nan, np.float32)},
        {"codes": np.zeros((40, 28, 512), np.float16)},
        {"yaw": np.zeros(39, np.float32)},
        {"mean": np.zeros((28, 64), np.float32)},
    ],
)
def test_damaged_bank_of_people_is_refused(fakes, tmp_path, changes):
    path = tmp_path / "identities.npz"
    fakes.write_identities(path, **changes)
    with pytest.raises(BundleError, match="bank of synthetic people must hold"):
        read_identities(path)


def test_bank_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "identities.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(BundleError, match="cannot be read"):
        read_identities(path)


def test_digest_is_that_of_the_manifest_whatever_the_order_of_its_entries(bundle_folder, fakes):
    digest = load_bundle(bundle_folder).digest
    manifest = bundle_folder / "manifest.json"
    entries = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(dict(reversed(entries.items())), indent=2), "utf-8")
    assert load_bundle(bundle_folder).digest == digest
    manifest.write_text(json.dumps({**entries, "version": "1"}), "utf-8")
    assert load_bundle(bundle_folder).digest != digest
