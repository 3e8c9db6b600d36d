"""Bundles: complete, hashed, small, and never half written."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from vera import contract
from vera.bundle import load_bundle
from vera.errors import VeraError
from vera_export import parity, registry
from vera_export.bundle import WEIGHTS, Release, build_bundle, write_bundle
from vera_export.cli import main
from vera_export.registry import NETWORKS, random_networks
from vera_export.storage import halve, round_weights


@pytest.mark.slow
def test_bundle_is_accepted_by_the_runtime(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert set(bundle.engines) == set(contract.ENGINES)
    assert bundle.identities.codes.shape == (1, contract.LATENT_ROWS, contract.LATENT_WIDTH)


@pytest.mark.slow
def test_manifest_reports_the_parity_of_every_engine(tiny_bundle: Path) -> None:
    engines = json.loads((tiny_bundle / "manifest.json").read_text())["engines"]
    for name in contract.ENGINES:
        shares = _shares(engines[name]["parity"])
        assert shares
        assert max(shares) <= 1


@pytest.mark.slow
def test_each_weight_lies_in_the_bundle_once(tiny_bundle: Path) -> None:
    referenced = 0
    for name in contract.ENGINES:
        model = onnx.load(tiny_bundle / f"{name}.onnx", load_external_data=False)
        for tensor in model.graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if entries:
                assert entries["location"] == WEIGHTS
                referenced += int(entries["length"])
    assert (tiny_bundle / WEIGHTS).stat().st_size < 0.7 * referenced


@pytest.mark.slow
def test_engines_tell_nothing_of_the_machine_that_made_them(tiny_bundle: Path) -> None:
    for name in contract.ENGINES:
        data = (tiny_bundle / f"{name}.onnx").read_bytes()
        assert b".py" not in data
        assert str(Path.home()).encode() not in data


@pytest.mark.slow
def test_a_bundle_that_fails_leaves_the_old_one_alone(
    tmp_path: Path, identities: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "old").write_text("kept")

    def refuse(*_: object) -> None:
        raise VeraError("Engine x does not agree.")

    monkeypatch.setattr("vera_export.bundle.check_bundle", refuse)
    monkeypatch.setattr("vera_export.bundle.module_to_onnx", lambda *_: onnx.ModelProto())
    with pytest.raises(VeraError, match="does not agree"):
        write_bundle(random_networks("tiny"), out, release, identities)
    assert (out / "old").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [out]


def test_missing_weights_are_named(tmp_path: Path, identities: Path, release: Release) -> None:
    with pytest.raises(VeraError, match="weights of detector are missing"):
        build_bundle(tmp_path, tmp_path / "bundle", release, identities)


def test_veras_own_generator_is_not_loaded_without_its_encoder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "load_network", lambda _, name: NETWORKS[name].tiny())
    with pytest.raises(VeraError, match="a generator and no encoder"):
        registry.load_networks(tmp_path)


def test_registry_and_contract_name_the_same_networks() -> None:
    made_of_them = {"generator_forward", "generator_backward", "guide"}
    assert set(NETWORKS) | made_of_them == set(contract.ENGINES)


def test_random_networks_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    random_networks("tiny")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_halving_keeps_rounded_weights_exactly() -> None:
    from vera_export.to_onnx import perceptual_to_onnx

    network = round_weights(NETWORKS["perceptual"].tiny().requires_grad_(False).eval())
    model = perceptual_to_onnx(network)  # type: ignore[arg-type]
    crop = np.random.default_rng(0).uniform(-1, 1, (1, 3, 256, 256)).astype(np.float32)
    before = parity.session(model.SerializeToString()).run(None, {"crop": crop})
    size = model.ByteSize()
    halve(model)
    assert model.ByteSize() < size
    for a, b in zip(
        before, parity.session(model.SerializeToString()).run(None, {"crop": crop}), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_constants_that_half_precision_cannot_hold_stay() -> None:
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [], "g", [], [], [onnx.numpy_helper.from_array(np.full(300, 0.1, np.float32), "c")]
        )
    )
    halve(model)
    assert model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT


def _shares(table: dict[str, object]) -> list[float]:
    found: list[float] = []
    for key, value in table.items():
        if key == "share":
            found.append(float(value))  # type: ignore[arg-type]
        elif isinstance(value, dict):
            found += _shares(value)
    return found


def test_a_bundle_of_trained_weights_is_not_made_without_a_measured_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank, out = str(tmp_path / "bank.npz"), str(tmp_path / "bundle")
    given = ["bundle", "--weights", str(tmp_path), "--identities", bank, "--out", out]
    assert main([*given, "--threshold", "0.5"]) == 1
    assert "--false-accept-rate and --calibration" in capsys.readouterr().err
