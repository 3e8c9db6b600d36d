"""Converted networks beside VerA's own make a bundle that the runtime takes."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vera import contract
from vera.bundle import load_bundle
from vera.check import check
from vera.engines import OnnxEngines
from vera.errors import UsageError, VeraError
from vera.face.detect import Face
from vera.face.faces import align_face
from vera.identity.inversion import InversionConfig, invert
from vera_export import mapped
from vera_export.bundle import Release, build_bundle, bundle_layout
from vera_export.cli import main
from vera_export.convert.samples import random_checkpoint, random_like
from vera_export.convert.semantic import convert_generator
from vera_export.mapped import build_mapped_identities
from vera_export.models import bisenet, vgg
from vera_export.models.bisenet import BiSeNet, BiSeNetConfig
from vera_export.models.public_generator import PublicGenerator, PublicGeneratorConfig
from vera_export.models.vgg import Vgg, VggConfig
from vera_export.registry import random_networks
from vera_export.to_onnx import module_to_onnx

_TINY = PublicGeneratorConfig.tiny()
_OWN = ("detector", "attributes", "embedder")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VerA's detector, attributes and embedder; a public generator, parser and LPIPS."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    own = random_networks("tiny", seed=1)  # those of ``tiny_bundle``
    for name in _OWN:
        header = {"config": json.dumps(asdict(own[name].config))}  # type: ignore[call-overload]
        save_file(own[name].state_dict(), folder / f"{name}.safetensors", header)
    torch.save(random_checkpoint(_TINY), folder / "public.pt")
    convert_generator(folder / "public.pt", folder)
    bisenet.save(BiSeNet(BiSeNetConfig.tiny()), folder / "parser.safetensors")
    vgg.save(Vgg(VggConfig.tiny()), folder / "perceptual.safetensors")
    return folder


@pytest.fixture(scope="module")
def bank(weights: Path) -> Path:
    build_mapped_identities(weights, weights / "bank.npz", 3, mean_of=50)
    return weights / "bank.npz"


def test_people_are_mapped_samples_near_their_mean(bank: Path) -> None:
    with np.load(bank) as stored:
        codes, mean = stored["codes"].astype(np.float32), stored["mean"]
        assert stored["embedding"].shape == (3, 128)
    assert codes.shape == (3, contract.LATENT_ROWS, _TINY.latent_width)
    assert (codes[:, 1:28] == codes[:, :1]).all()  # one sample drives all parts
    assert not codes[:, 28:].any()
    assert not mean[28:].any()
    assert np.unique(codes[:, 0], axis=0).shape[0] == 3


def test_only_a_generator_with_a_mapping_network_gives_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random_networks("tiny")["generator"]
    monkeypatch.setattr(mapped, "load_network", lambda *_: generator)
    with pytest.raises(UsageError, match="no mapping network"):
        build_mapped_identities(tmp_path, tmp_path / "bank.npz", 3)


@pytest.mark.slow
def test_a_bundle_of_converted_networks_runs(
    tmp_path: Path,
    weights: Path,
    bank: Path,
    release: Release,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exported(module: nn.Module, spec: contract.EngineSpec) -> onnx.ModelProto:
        """VerA's own are there already, and exporting is slow."""
        if spec.name in _OWN:
            return onnx.load(tiny_bundle / f"{spec.name}.onnx")
        return module_to_onnx(module, spec)

    monkeypatch.setattr("vera_export.bundle.module_to_onnx", exported)
    folder = tmp_path / "bundle"
    manifest = build_bundle(weights, folder, release, bank)
    assert manifest["license"].startswith("generator: CC BY-NC-SA 4.0")
    assert "the rest: Apache-2.0" in manifest["license"]
    assert {row.name for row in check(folder) if not row.ok} <= {"extension"}
    bundle = load_bundle(folder)
    assert bundle.layout == contract.Layout(
        64, 64, 16, 16, 64, 128, ((4, 64), (6, 32), (8, 16), (8, 8), (8, 4)), 0.2
    )
    assert "encoder" not in bundle.engines
    config = InversionConfig.suited(bundle)
    assert (config.steps, config.learning_rate) == (400, 0.1)
    engines = OnnxEngines(bundle, threads=1)
    photo = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    points = np.array([(75, 90), (125, 90), (100, 120), (80, 145), (120, 145)], np.float64)
    face = align_face(photo, Face(np.array([50.0, 50, 150, 170]), points, 0.9), engines)
    assert face.picture.shape == (64, 64, 3)
    assert face.labels.shape == (256, 256)
    found = invert(
        [face], [(200, 200)], engines, bundle, InversionConfig.suited(bundle, 3), lambda done: None
    )
    assert found.latents.shape == (1, contract.LATENT_ROWS, _TINY.latent_width)
    assert min(found.losses) < found.losses[0]
    start = invert(
        [face], [(200, 200)], engines, bundle, InversionConfig.suited(bundle, 0), lambda done: None
    )
    np.testing.assert_array_equal(start.latents[0], bundle.identities.mean)


def test_an_encoder_of_another_generator_is_refused() -> None:
    networks: dict[str, nn.Module] = {
        "generator": PublicGenerator(_TINY),
        "encoder": random_networks("tiny")["encoder"],
    }
    with pytest.raises(VeraError, match=r"remove encoder\.safetensors"):
        bundle_layout(networks)


def test_command_converts_and_tells_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(random_checkpoint(_TINY), tmp_path / "public.pt")
    arguments = ["convert", "generator", str(tmp_path / "public.pt"), "--out", str(tmp_path / "w")]
    assert main([*arguments, "--size", "32"]) == 0
    assert json.loads(capsys.readouterr().out)["size_px"] == 32
    assert main([*arguments, "--size", "48"]) == 1
    assert "pictures of 32, 64 px, not 48" in capsys.readouterr().err
    torch.save(random_like({"a": (2,)}), tmp_path / "other.pth")
    wrong = ["convert", "parser", str(tmp_path / "other.pth"), "--out", str(tmp_path / "w")]
    assert main(wrong) == 1
    assert "is not a 19-class BiSeNet parser" in capsys.readouterr().err


def test_too_few_fitting_samples_are_an_error(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "_YAW_LIMIT", 0.0)
    with pytest.raises(UsageError, match=r"Only 0 of 8 samples .* 2 are wanted; ask for fewer"):
        build_mapped_identities(weights, tmp_path / "bank.npz", 2, mean_of=20)
    assert not (tmp_path / "bank.npz").exists()
