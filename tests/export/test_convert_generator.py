"""A public SemanticStyleGAN checkpoint becomes VerA's generator and stays the same function."""

import argparse
import json
import math
import pickle
from pathlib import Path

import public_formulas as formulas
import pytest
import torch
from torch import Tensor

from vera import contract
from vera.errors import UsageError
from vera_export import parity
from vera_export.convert.checkpoint import read_pickle
from vera_export.convert.samples import random_checkpoint, random_generator_state
from vera_export.convert.semantic import (
    convert_generator,
    early_exit,
    generator_from,
    infer_config,
    key_shapes,
)
from vera_export.layout import layout_of
from vera_export.models import public_generator
from vera_export.models.public_generator import PublicGenerator, PublicGeneratorConfig
from vera_export.models.vgg import Vgg, VggConfig
from vera_export.to_onnx import folded, generator_function, generator_to_onnx, gradient_pair

_TINY = PublicGeneratorConfig.tiny()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_generator_state(_TINY, seed=1)


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> PublicGenerator:
    return generator_from(state, _TINY).requires_grad_(False)


@pytest.fixture(scope="module")
def latent() -> Tensor:
    size = (2, contract.LATENT_ROWS, _TINY.latent_width)
    return torch.randn(size, generator=torch.Generator().manual_seed(2))


def _expected(state: dict[str, Tensor], latent: Tensor, stages: int = 3) -> tuple[Tensor, ...]:
    sizes = {"side": _TINY.coarse, "octaves": _TINY.octaves, "entry": _TINY.entry}
    found: tuple[Tensor, ...] = formulas.generate(state, latent[:, :28], **sizes, stages=stages)
    return found


def _close(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 2e-5 * b.abs().max()


def _saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_keys_and_shapes_of_the_512_px_checkpoint_are_the_published_ones() -> None:
    shapes = key_shapes(PublicGeneratorConfig())
    values = {key: math.prod(shape) for key, shape in shapes.items()}
    learnt = [n for key, n in values.items() if "kernel" not in key and "noise_" not in key]
    assert len(shapes) == 732
    assert sum(learnt) == 20_320_358
    assert shapes["render_net.convs.4.weight"] == (256, 1024, 3, 3)
    assert shapes["pos_embed.weights"] == (64, 38, 1, 1)


def test_the_512_px_checkpoint_loads_and_tells_its_sizes_without_arguments() -> None:
    with torch.device("meta"):
        public = {k: torch.empty(s) for k, s in key_shapes(PublicGeneratorConfig()).items()}
        config = infer_config(public)
        model = generator_from(public, config)
    assert config == PublicGeneratorConfig()
    assert layout_of(model) == contract.Layout(512, 512, 64, 512, temperature=0.2)


def test_outputs_equal_the_published_formulas(
    state: dict[str, Tensor], network: PublicGenerator, latent: Tensor
) -> None:
    _close(network(latent), _expected(state, latent))


def test_early_exit_equals_the_published_skip_sums_at_half_the_size(
    state: dict[str, Tensor], network: PublicGenerator, latent: Tensor
) -> None:
    smaller = early_exit(network, 32)
    image, _, depth = smaller(latent)
    assert image.shape[-1] == 32
    assert torch.equal(depth, network(latent)[2])
    _close(smaller(latent), _expected(state, latent, stages=2))


def test_the_512_px_network_has_an_early_exit_at_256(network: PublicGenerator) -> None:
    with torch.device("meta"):
        model = early_exit(PublicGenerator(), 256)
    assert model.config.size == 256
    assert model.config.octaves == 9
    with pytest.raises(UsageError, match="32, 64 px, not 256"):
        early_exit(network, 256)


def test_mapping_equals_the_published_formula(
    state: dict[str, Tensor], network: PublicGenerator
) -> None:
    z = torch.randn(3, _TINY.latent_width, generator=torch.Generator().manual_seed(3))
    wanted = formulas.mapping(state, z, _TINY.mapping_layers)
    _close((network.mapping(z),), (wanted,))


def test_high_level_codes_do_nothing_until_their_branch_is_trained(
    state: dict[str, Tensor], latent: Tensor
) -> None:
    network = generator_from(state, _TINY).requires_grad_(False)
    other = latent.clone()
    other[:, 28:] += 1
    assert all(torch.equal(a, b) for a, b in zip(network(latent), network(other), strict=True))
    before = network(latent)[2]
    for layer in network.layers:
        layer.affine_high.fill_(0.1)
    _, _, depth = network(other)
    assert not torch.equal(depth[:, 1:], before[:, 1:])
    assert not depth[:, 0].any()


def test_a_checkpoint_becomes_weights_with_source_and_licence(
    tmp_path: Path, network: PublicGenerator, latent: Tensor
) -> None:
    source = _saved(tmp_path / "public.pt", random_checkpoint(_TINY, seed=1))
    convert_generator(source, tmp_path / "weights")
    loaded = public_generator.load(tmp_path / "weights/generator.safetensors")
    assert loaded.config == _TINY
    assert torch.equal(loaded(latent)[0], network(latent)[0])
    record = json.loads((tmp_path / "weights/generator.json").read_text("utf-8"))
    assert record["licence"].startswith("CC BY-NC-SA 4.0")
    assert len(record["converted_from"]["public.pt"]) == 64


def test_arguments_that_contradict_the_tensors_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(UsageError, match="arguments do not fit its tensors"):
        infer_config(state, {"size": 512})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("local_nets.3.to_feat.bias"), r"lacks local_nets\.3\.to_feat\.bias;"),
        (lambda s: s.pop("render_net.convs.3.weight"), r"lacks render_net\.convs\.3\.weight;"),
        (lambda s: s.update(extra=torch.zeros(1)), r"has the unknown extra;"),
        (
            lambda s: s.update({"style.1.bias": torch.zeros(3)}),
            r"has other shapes \(style\.1\.bias is \[3\] instead of \[16\]\);",
        ),
    ],
)
def test_a_wrong_key_is_named_in_one_sentence(
    tmp_path: Path, state: dict[str, Tensor], change: object, said: str
) -> None:
    wrong = dict(state)
    change(wrong)  # type: ignore[operator]
    with pytest.raises(UsageError, match=f"is not a SemanticStyleGAN generator: it {said}"):
        convert_generator(_saved(tmp_path / "wrong.pt", {"g_ema": wrong}), tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_all_faults_stand_in_one_message(tmp_path: Path, state: dict[str, Tensor]) -> None:
    wrong = {**state, "extra": torch.zeros(1), "style.1.bias": torch.zeros(3)}
    del wrong["style.2.bias"]
    with pytest.raises(UsageError, match=r"lacks style\.2\.bias and .*extra and .*style\.1\.bias"):
        convert_generator(_saved(tmp_path / "wrong.pt", {"g_ema": wrong}), tmp_path)


class _Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.mark),)


def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    source = _saved(tmp_path / "public.pt", {"g_ema": {}, "args": _Malicious(mark)})
    with pytest.raises(UsageError, match="holds Python objects besides tensors"):
        convert_generator(source, tmp_path / "weights")
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(_Malicious(mark)))
    with pytest.raises(UsageError, match=r"plain\.pt"):
        read_pickle(plain)
    assert not mark.exists()


def test_arguments_of_a_training_are_read(tmp_path: Path) -> None:
    content = {"g_ema": {}, "args": argparse.Namespace(size=512)}
    assert read_pickle(_saved(tmp_path / "a.pt", content))["args"].size == 512


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.pt"):
        read_pickle(tmp_path / "a.pt")


@pytest.mark.slow
def test_its_engines_and_their_gradient_agree_link_by_link(state: dict[str, Tensor]) -> None:
    generator = generator_from(state, _TINY).requires_grad_(False)
    random = torch.Generator().manual_seed(4)
    for layer in generator.layers:  # a branch of zeros would not be exported at all
        layer.affine_high.normal_(std=0.05, generator=random)
    perceptual = Vgg(VggConfig.tiny()).eval().requires_grad_(False)
    layout = layout_of(generator, perceptual)
    spec = contract.engines(layout)
    rewrite = parity.check_rewrite(generator, perceptual)
    assert max(figure["maximum"] for figure in rewrite.values()) < 1e-10
    pair = gradient_pair(generator, perceptual)
    function = generator_function(folded(generator), folded(perceptual))
    parity.check_trace(pair.split, function, (1,), layout)
    forward, backward, alone = (
        parity.session(model.SerializeToString())
        for model in (pair.forward, pair.backward, generator_to_onnx(generator))
    )
    source = generator_function(generator, perceptual)
    parity.check_engine(forward, spec["generator_forward"], source)
    parity.check_engine(alone, spec["generator"], lambda latent: generator(latent)[:2])
    found = parity.check_backward(forward, backward, pair.split, layout=layout)
    assert found["grad_latent"]["share"] < 1
