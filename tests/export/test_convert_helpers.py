"""Public parsers, embedders and LPIPS become VerA's networks and stay the same functions."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from vera import contract
from vera.errors import UsageError
from vera_export import derivatives, parity
from vera_export.convert.embedder import EmbedderInput, convert_embedder
from vera_export.convert.parser import convert_parser, key_shapes, parser_from
from vera_export.convert.perceptual import feature_names, perceptual_from
from vera_export.convert.samples import random_like
from vera_export.layout import layout_of
from vera_export.models import bisenet
from vera_export.models.bisenet import CLASS_MAP, BiSeNet, BiSeNetConfig
from vera_export.models.onnx_network import load_embedder
from vera_export.models.vgg import VggConfig
from vera_export.registry import load_network
from vera_export.to_onnx import folded, module_to_onnx, perceptual_to_onnx

_PARSER, _VGG = BiSeNetConfig.tiny(), VggConfig.tiny()
State = dict[str, Tensor]


def _crop(side: int, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, side, side, generator=generator) * 2 - 1


# --- BiSeNet -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public_parser() -> State:
    state = random_like(key_shapes(BiSeNet(_PARSER)), seed=1)
    auxiliary = {"conv_out16.conv_out.weight": torch.zeros(19, 4, 1, 1)}
    counters = {"cp.resnet.bn1.num_batches_tracked": torch.tensor(7)}
    return {**state, **auxiliary, **counters}


def _norm(s: State, name: str, x: Tensor) -> Tensor:
    mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, s[f"{name}.weight"], s[f"{name}.bias"])


def _unit(s: State, name: str, x: Tensor) -> Tensor:
    weight = s[f"{name}.conv.weight"]
    return _norm(s, f"{name}.bn", F.conv2d(x, weight, padding=weight.shape[-1] // 2)).relu()


def _block(s: State, name: str, x: Tensor, stride: int) -> Tensor:
    y = _norm(s, f"{name}.bn1", F.conv2d(x, s[f"{name}.conv1.weight"], None, stride, 1)).relu()
    y = _norm(s, f"{name}.bn2", F.conv2d(y, s[f"{name}.conv2.weight"], padding=1))
    if f"{name}.downsample.0.weight" in s:
        x = F.conv2d(x, s[f"{name}.downsample.0.weight"], None, stride)
        x = _norm(s, f"{name}.downsample.1", x)
    return (x + y).relu()


def _attended(s: State, name: str, x: Tensor) -> Tensor:
    x = _unit(s, f"{name}.conv", x)
    pooled = F.adaptive_avg_pool2d(x, 1)
    gate = _norm(s, f"{name}.bn_atten", F.conv2d(pooled, s[f"{name}.conv_atten.weight"]))
    return x * gate.sigmoid()


def _bisenet(s: State, crop: Tensor) -> Tensor:
    """The public network with its batch norms, layer by layer: 19 logits."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    x = ((crop + 1) / 2 - mean) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    r = "cp.resnet"
    x = _norm(s, f"{r}.bn1", F.conv2d(x, s[f"{r}.conv1.weight"], None, 2, 3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for n in range(1, 5):
        x = _block(s, f"{r}.layer{n}.0", x, 1 if n == 1 else 2)
        x = _block(s, f"{r}.layer{n}.1", x, 1)
        maps.append(x)
    mean_map = _unit(s, "cp.conv_avg", F.adaptive_avg_pool2d(maps[3], 1))
    coarse = _attended(s, "cp.arm32", maps[3]) + mean_map.expand(-1, -1, *maps[3].shape[2:])
    coarse = _unit(s, "cp.conv_head32", F.interpolate(coarse, maps[2].shape[2:]))
    middle = _attended(s, "cp.arm16", maps[2]) + coarse
    context = _unit(s, "cp.conv_head16", F.interpolate(middle, maps[1].shape[2:]))
    x = _unit(s, "ffm.convblk", torch.cat([maps[1], context], 1))
    gate = F.conv2d(F.adaptive_avg_pool2d(x, 1), s["ffm.conv1.weight"]).relu()
    x = x * F.conv2d(gate, s["ffm.conv2.weight"]).sigmoid() + x
    logits = F.conv2d(_unit(s, "conv_out.conv", x), s["conv_out.conv_out.weight"])
    return F.interpolate(logits, crop.shape[2:], mode="bilinear", align_corners=True)


def test_parser_with_folded_norms_equals_the_public_one(public_parser: State) -> None:
    network, crop = parser_from(public_parser, _PARSER), _crop(64)
    wanted = _bisenet(public_parser, crop)
    with torch.no_grad():
        found = network.classes(crop)
    assert found.shape == (2, 19, 64, 64)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_probabilities_of_merged_classes_add_up(public_parser: State) -> None:
    network, crop = parser_from(public_parser, _PARSER), _crop(64)
    with torch.no_grad():
        fine = network.classes(crop).softmax(1)
        merged = network(crop).softmax(1)
    for part in range(contract.CLASS_COUNT):
        members = [i for i, k in enumerate(CLASS_MAP) if k == part]
        assert members
        assert torch.allclose(merged[:, part], fine[:, members].sum(1), atol=1e-6)


def test_parsers_key_table_has_the_public_names_of_its_parts() -> None:
    shapes = key_shapes(BiSeNet())
    assert shapes["cp.resnet.conv1.weight"] == (64, 3, 7, 7)
    assert shapes["cp.resnet.layer3.0.downsample.1.running_var"] == (256,)
    assert shapes["cp.arm32.bn_atten.weight"] == (128,)
    assert shapes["ffm.convblk.conv.weight"] == (256, 256, 1, 1)
    assert shapes["conv_out.conv_out.weight"] == (19, 256, 1, 1)
    assert "ffm.conv1.bias" not in shapes


def test_parser_file_of_another_network_is_named(tmp_path: Path, public_parser: State) -> None:
    wrong = {k: v for k, v in public_parser.items() if k != "cp.arm16.bn_atten.bias"}
    torch.save(wrong, tmp_path / "79999_iter.pth")
    with pytest.raises(UsageError, match=r"BiSeNet parser: it lacks .*cp\.arm16\.bn_atten\.bias"):
        convert_parser(tmp_path / "79999_iter.pth", tmp_path / "weights")


def test_parser_comes_back_from_its_file_with_its_layout(
    tmp_path: Path, public_parser: State
) -> None:
    network = parser_from(public_parser, _PARSER)
    bisenet.save(network, tmp_path / "parser.safetensors")
    loaded = load_network(tmp_path, "parser")
    assert layout_of(loaded).parser == 64
    with torch.no_grad():
        assert torch.equal(loaded(_crop(64)), network(_crop(64)))


# --- LPIPS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public_lpips() -> tuple[State, State]:
    shapes: dict[str, tuple[int, ...]] = {}
    sizes = [3]
    for width, depth in zip(_VGG.widths, _VGG.depths, strict=True):
        sizes += [width] * depth
    for name, i, o in zip(feature_names(_VGG), sizes, sizes[1:], strict=False):
        shapes |= {f"{name}.weight": (o, i, 3, 3), f"{name}.bias": (o,)}
    heads = {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in enumerate(_VGG.widths)}
    positive = {key: value.abs() for key, value in random_like(heads, seed=2).items()}
    return random_like(shapes, seed=1), positive


def _lpips(features: State, heads: State, a: Tensor, b: Tensor) -> Tensor:
    """Distance of LPIPS v0.1 with torchvision's sequence of layers, on pictures pooled to 64."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    pools = {4, 9, 16, 23} if len(features) == 26 else set()
    found = []
    for picture in (a, b):
        x = (F.adaptive_avg_pool2d(picture, 64) - shift) / scale
        taps = []
        for place in range(30):
            if place in pools:
                x = F.max_pool2d(x, 2)
            elif f"features.{place}.weight" in features:
                weight = features[f"features.{place}.weight"]
                x = F.conv2d(x, weight, features[f"features.{place}.bias"], padding=1).relu()
            if place in (3, 8, 15, 22, 29):
                taps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        found.append(taps)
    total = torch.zeros(len(a))
    for i, (x, y) in enumerate(zip(*found, strict=True)):
        weight = heads[f"lin{i}.model.1.weight"]
        total = total + F.conv2d((x - y).square(), weight).mean((1, 2, 3))
    return total


def test_layers_of_vgg16_have_torchvisions_numbers() -> None:
    numbers = [int(name.split(".")[1]) for name in feature_names(VggConfig())]
    assert numbers == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


@pytest.mark.parametrize("side", [64, 128])
def test_distance_of_the_bundle_s_loss_is_that_of_lpips(
    public_lpips: tuple[State, State], side: int
) -> None:
    from vera.ops.inversion_loss import inversion_loss_reference
    from vera.ops.inversion_target import LossWeights, prepare_target

    network = perceptual_from(*public_lpips, _VGG)
    a, b = _crop(side, 1, seed=3), _crop(side, 1, seed=4)
    with torch.no_grad():
        mine = {f"feature_{i}": f.numpy() for i, f in enumerate(network(a))}
        other = [f.numpy() for f in network(b)]
    weights = [np.array(w, np.float32) for w in network.feature_weights()]
    target = prepare_target(
        features=other, feature_weights=weights, weights=LossWeights(perceptual=1.0)
    )
    values, _ = inversion_loss_reference(mine, target)
    assert values.sum() == pytest.approx(float(_lpips(*public_lpips, a, b)), rel=1e-4)


def test_negative_or_missing_heads_are_refused(public_lpips: tuple[State, State]) -> None:
    features, heads = public_lpips
    with pytest.raises(UsageError, match="must not be negative"):
        perceptual_from(features, {**heads, "lin1.model.1.weight": -torch.ones(1, 6, 1, 1)}, _VGG)
    fewer = {key: value for key, value in heads.items() if not key.startswith("lin4")}
    with pytest.raises(UsageError, match=r"linear heads .* lacks lin4\.model\.1\.weight"):
        perceptual_from(features, fewer, _VGG)


def test_lpips_engine_agrees_at_twice_its_side(public_lpips: tuple[State, State]) -> None:
    network = perceptual_from(*public_lpips, _VGG).requires_grad_(False)
    layout = contract.Layout(image=128, perceptual_taps=layout_of(network).perceptual_taps)
    spec = contract.engines(layout)["perceptual"]
    engine = parity.session(perceptual_to_onnx(network, layout).SerializeToString())
    parity.check_engine(engine, spec, network)


def test_lpips_gradient_equals_torch_s(public_lpips: tuple[State, State]) -> None:
    network = perceptual_from(*public_lpips, _VGG).double().requires_grad_(False)
    crop = _crop(64).double().requires_grad_(True)
    grads = []
    for form in (network, folded(network)):
        total = sum((tap * (i + 1)).sum() for i, tap in enumerate(form(crop)))
        grads.append(torch.autograd.grad(total, crop)[0])  # type: ignore[arg-type]
    assert (grads[0] - grads[1]).abs().max() < 1e-10 * grads[0].abs().max()


def test_smooth_and_peak_have_the_right_gradient() -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: derivatives.Smooth.apply(x, 1, 0), (x,))
    assert torch.autograd.gradcheck(derivatives.Peak.apply, (x,))


# --- ArcFace -----------------------------------------------------------------------------------


def _arcface(path: Path, width: int = 24, batch: int | str = 1, *, baked: bool = False) -> Path:
    """A small network with the tensors of an ArcFace one, its constants listed as inputs, too."""
    random = np.random.default_rng(0)
    values = {
        "kernel": random.normal(0, 0.1, (4, 3, 8, 8)).astype(np.float32),
        "dense": random.normal(0, 0.1, (4 * 14 * 14, width)).astype(np.float32),
        "flat": np.array([1 if baked else -1, 4 * 14 * 14], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "kernel"], ["map"], strides=[8, 8]),
        helper.make_node("Relu", ["map"], ["positive"]),
        helper.make_node("Reshape", ["positive", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "dense"], ["683"]),
    ]
    inputs = [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, 3, 112, 112])]
    for name in ("kernel", "dense"):
        shape = list(values[name].shape)
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    outputs = [helper.make_tensor_value_info("683", TensorProto.FLOAT, [batch, width])]
    constants = [numpy_helper.from_array(v, k) for k, v in values.items()]
    graph = helper.make_graph(nodes, "arcface", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 11)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=6), path)
    return path


@pytest.mark.parametrize("settings", [EmbedderInput(), EmbedderInput(127.5, 127.5, bgr=True)])
def test_embedder_gives_the_networks_embedding_at_unit_length(
    tmp_path: Path, settings: EmbedderInput
) -> None:
    source = _arcface(tmp_path / "w600k.onnx")
    record = convert_embedder(source, tmp_path / "weights", settings)
    assert record["width"] == 24
    network = load_network(tmp_path / "weights", "embedder")
    assert layout_of(network).embedding == 24
    faces = _crop(112)
    wanted = faces.flip(1) if settings.bgr else faces
    wanted = wanted * settings.scale + settings.offset
    plain = parity.session(str(source))
    raw = np.concatenate([plain.run(None, {"input.1": f[None].numpy()})[0] for f in wanted])
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(network(faces).numpy(), raw, atol=2e-3)  # weights are rounded


def test_embedder_engine_is_the_converted_graph(tmp_path: Path) -> None:
    convert_embedder(_arcface(tmp_path / "a.onnx", batch="n"), tmp_path)
    network = load_embedder(tmp_path / "embedder.onnx")
    spec = contract.engines(layout_of(network))["embedder"]
    engine = parity.session(module_to_onnx(network, spec).SerializeToString())
    figures = parity.check_engine(engine, spec, network)
    assert figures["embedding"]["share"] < 1
    norms = np.linalg.norm(network(_crop(112)).numpy(), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    assert json.loads((tmp_path / "embedder.json").read_text("utf-8"))["width"] == 24


def test_embedder_for_single_faces_only_is_refused(tmp_path: Path) -> None:
    source = _arcface(tmp_path / "a.onnx", baked=True)
    with pytest.raises(UsageError, match="one face at a time only"):
        convert_embedder(source, tmp_path / "weights")


def test_network_that_is_no_embedder_is_refused(tmp_path: Path) -> None:
    model = onnx.load(_arcface(tmp_path / "a.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 160
    onnx.save_model(model, tmp_path / "b.onnx")
    with pytest.raises(UsageError, match=r"takes faces \[n, 3, 112, 112\]"):
        convert_embedder(tmp_path / "b.onnx", tmp_path / "weights")
    (tmp_path / "c.onnx").write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"c\.onnx is no ONNX network"):
        convert_embedder(tmp_path / "c.onnx", tmp_path / "weights")


def test_public_sizes_are_the_defaults() -> None:
    assert math.log2(BiSeNetConfig().side) == 9
    assert VggConfig().widths == (64, 128, 256, 512, 512)
