"""The guide: what it is made of, its gradient, its engine."""

import copy
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from vera import contract
from vera.errors import VeraError
from vera.pixels import align
from vera_export import parity
from vera_export.derivatives import Huber, Repeat, Stride, call
from vera_export.models.guide import Guide, arcface_matrices, attribute_loss, fitting
from vera_export.parity_guide import check_guide
from vera_export.rewrites_guide import FoldedGuide, guide_function
from vera_export.to_onnx import example_inputs, guide_to_onnx

SPEC = contract.ENGINES["guide"]


@pytest.fixture(scope="module")
def guide(tiny_networks: dict[str, nn.Module]) -> Guide:
    networks = copy.deepcopy(tiny_networks)
    return Guide(networks["embedder"], networks["attributes"], contract.CROP_SIZE).eval()


@pytest.fixture(scope="module")
def model(guide: Guide) -> onnx.ModelProto:
    return guide_to_onnx(guide)


def portrait(side: int) -> np.ndarray:
    """Smooth colours, uint8 [side, side, 3]: fine detail is resampled differently by everybody."""
    noise = np.random.default_rng(0).uniform(0, 255, (16, 16, 3))
    return np.clip(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("side", [128, 256, 512])
def test_the_face_is_cut_out_as_the_runtime_cuts_it(side: int) -> None:
    image = portrait(side)
    points = (align.FFHQ.points + 0.5) * side / align.FFHQ.size - 0.5
    size = contract.EMBEDDER_SIZE
    wanted = align.warp_to_crop(image, align.crop_matrix(points, align.ARCFACE), size)
    rows, columns = arcface_matrices(side)
    found = rows @ torch.from_numpy(image).permute(2, 0, 1).float() @ columns.T
    difference = np.abs(found.permute(1, 2, 0).numpy() - wanted)
    assert difference.mean() < 0.5  # of 255; rounding alone costs a quarter
    assert difference.max() < 3.0


def test_what_is_wanted_costs_nothing_and_one_unit_of_each_a_half() -> None:
    wanted = tuple(torch.zeros(2, k) for k in (3, 7, 1, 1))
    off = tuple(
        torch.full_like(t, unit) for t, unit in zip(wanted, contract.GUIDED.values(), strict=True)
    )
    assert attribute_loss(wanted, wanted).tolist() == [0.0, 0.0]
    torch.testing.assert_close(attribute_loss(off, wanted), torch.full((2,), 0.5))


def test_values_are_the_networks_own(guide: Guide) -> None:
    inputs = example_inputs(SPEC, 2)
    with torch.no_grad():
        cosine, loss = guide(*inputs)
        face = nn.functional.avg_pool2d(inputs[0], 2)
        told = guide.attributes(face)[:4]
    torch.testing.assert_close(loss, attribute_loss(told, tuple(inputs[2:])))
    rows, columns = arcface_matrices(contract.CROP_SIZE)
    with torch.no_grad():
        embedding = guide.embedder(rows @ inputs[0] @ columns.T)
    torch.testing.assert_close(cosine, (embedding * inputs[1]).sum(1))


def test_gradients_of_the_rewrite_are_those_of_autograd(guide: Guide) -> None:
    exact = copy.deepcopy(guide).double()
    inputs = [x.double() for x in example_inputs(SPEC, 2)]
    found, wanted = (guide_function(g)(*inputs) for g in (FoldedGuide(exact), exact))
    assert len(found) == len(SPEC.outputs)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("output", [0, 2])
def test_gradients_are_finite_differences(guide: Guide, output: int) -> None:
    exact = FoldedGuide(copy.deepcopy(guide).double())
    # The points are held while differentiating, so the differences must not move them either.
    nn.init.zeros_(exact.source.attributes.heat.weight)
    inputs = [x.double() for x in example_inputs(SPEC, 1, seed=3)]
    told = guide_function(exact)(*inputs)
    direction = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-7
    ahead, behind = (
        exact(inputs[0] + s * direction, *inputs[1:])[output // 2] for s in (step, -step)
    )
    slope = float((ahead - behind) / (2 * step))
    assert slope == pytest.approx(float((told[output + 1] * direction).sum()), rel=1e-4)


@pytest.mark.parametrize("size", [3, 4])
def test_gradient_of_a_strided_convolution(size: int) -> None:
    random = torch.Generator().manual_seed(size)
    x, weight, bias = (
        torch.randn(*shape, generator=random, dtype=torch.float64)
        for shape in ((2, 3, 8, 12), (5, 3, size, size), (5,))
    )
    taps = torch.eye(6, dtype=torch.float64)[:, 1 : 1 + size]
    found = _gradient(lambda t: call(Stride, t, weight, bias, taps), x)
    wanted = _gradient(lambda t: nn.functional.conv2d(t, weight, bias, stride=2, padding=1), x)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_repetition_and_huber_loss() -> None:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    pairs = (
        (lambda t: call(Repeat, t), lambda t: nn.functional.interpolate(t, scale_factor=2)),
        (
            lambda t: call(Huber, t),
            lambda t: nn.functional.huber_loss(t, torch.zeros_like(t), reduction="none"),
        ),
    )
    for ours, torchs in pairs:
        for a, b in zip(_gradient(ours, x), _gradient(torchs, x), strict=True):
            torch.testing.assert_close(a, b)


def test_engine_agrees_with_the_networks(guide: Guide, model: onnx.ModelProto) -> None:
    figures = check_guide(parity.session(model.SerializeToString()), guide, SPEC)
    assert {"rewrite", "engine"} == set(figures)
    assert max(f["share"] for part in figures.values() for f in part.values()) <= 1


@pytest.mark.parametrize("output", ["grad_cosine", "grad_attributes"])
def test_a_gradient_of_the_wrong_length_is_refused(
    guide: Guide, model: onnx.ModelProto, output: str
) -> None:
    engine = parity.session(model.SerializeToString())

    class Off:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            told = dict(zip(names, engine.run(names, feed), strict=True))
            return [told[name] * (1.001 if name == output else 1) for name in names]

    with pytest.raises(VeraError, match=f"guide does not agree.*{output}"):
        check_guide(Off(), guide, SPEC, batches=(2,))  # type: ignore[arg-type]


def test_a_network_without_a_gradient_makes_no_guide(tiny_networks: dict[str, nn.Module]) -> None:
    embedder, attributes = tiny_networks["embedder"], tiny_networks["attributes"]
    assert fitting(embedder, attributes, 128)
    assert not fitting(nn.Identity(), attributes, 256)
    assert not fitting(embedder, attributes, 64)


@pytest.mark.slow
def test_the_guide_s_weights_are_those_of_its_networks(tiny_bundle: Path) -> None:
    def places(name: str) -> set[tuple[str, str]]:
        model = onnx.load(tiny_bundle / f"{name}.onnx", load_external_data=False)
        found = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer]
        return {(e["offset"], e["length"]) for e in found if e}

    own = places("guide") - places("embedder") - places("attributes")
    matrices = 2 * contract.EMBEDDER_SIZE * contract.CROP_SIZE * 2  # two, in half precision
    assert sum(int(length) for _, length in own) <= matrices + 4096


def _gradient(function, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_(True)
    y = function(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=y.dtype)
    (grad,) = torch.autograd.grad(y, x, weights)
    return y.detach(), grad
