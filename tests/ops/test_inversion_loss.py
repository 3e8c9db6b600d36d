from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_case import WEIGHTS, make_case, make_labels, make_normal, make_outputs

from vera.ops import (
    InversionTarget,
    LossWeights,
    buffers_for,
    inversion_loss,
    prepare_target,
)
from vera.ops.inversion_loss import inversion_loss_reference


def _run(outputs: dict[str, Any], target: InversionTarget, threads: int = 0) -> tuple[Any, Any]:
    buffers = buffers_for(target)
    values = inversion_loss(outputs, target, buffers, threads=threads)
    return values, buffers.gradients


def _assert_close(
    outputs: dict[str, Any], target: InversionTarget, *, value: float, gradient: float
) -> None:
    values, gradients = _run(outputs, target)
    expected_values, expected_gradients = inversion_loss_reference(outputs, target)
    np.testing.assert_allclose(values, expected_values, rtol=value)
    assert gradients.keys() == expected_gradients.keys()
    for name, expected in expected_gradients.items():
        error = np.abs(gradients[name] - expected).max(initial=0)
        assert error <= gradient * np.abs(expected).max(initial=0), name


def test_float32_agrees_with_the_float64_reference() -> None:
    # 1e-6: one rounding of float32 is 6e-8, and a pixel sums up to 1030 channels.
    _assert_close(make_outputs(), prepare_target(**make_case()), value=1e-6, gradient=1e-6)


def test_float64_agrees_with_the_reference_to_the_last_digits() -> None:
    outputs, target = make_outputs(dtype=np.float64), prepare_target(**make_case(dtype=np.float64))
    _assert_close(outputs, target, value=1e-12, gradient=1e-12)


@pytest.mark.parametrize(
    "shape", [(1, 2, 1, 1), (1, 13, 1, 257), (3, 128, 16, 16), (1, 129, 8, 8), (2, 200, 33, 1)]
)
def test_any_shape_of_a_feature_layer_agrees_with_the_reference(shape: tuple[int, ...]) -> None:
    target = prepare_target(features=[make_normal(1, *shape)], weights=LossWeights(perceptual=1.0))
    _assert_close({"feature_0": make_normal(2, *shape)}, target, value=1e-6, gradient=1e-6)


def test_large_aligned_planes_take_the_streaming_path_and_agree() -> None:
    shape = (1, 40, 256, 256)  # 10 MiB of gradient: past the limit for non-temporal stores
    target = prepare_target(features=[make_normal(1, *shape)], weights=LossWeights(perceptual=1.0))
    _assert_close({"feature_0": make_normal(2, *shape)}, target, value=1e-6, gradient=1e-6)


def _torch_values(outputs: dict[str, torch.Tensor], case: dict[str, Any], sample: int) -> Any:
    """The four terms of one sample, written with torch and the lpips package's formula."""

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (torch.sqrt(torch.sum(x**2, dim=1, keepdim=True)) + 1e-10)

    def of(name: str) -> torch.Tensor:
        return outputs[name][sample : sample + 1]

    def constant(array: Any) -> torch.Tensor:
        return torch.from_numpy(array[sample : sample + 1])

    def cross_entropy(z: torch.Tensor, labels: Any, extra: torch.Tensor | None) -> torch.Tensor:
        weight = torch.from_numpy(case["class_weights"])
        target = constant(labels).long()
        if extra is None:
            return F.cross_entropy(z, target, weight, ignore_index=255)
        each = F.cross_entropy(z, target, weight, ignore_index=255, reduction="none")
        mass = torch.cat([weight, torch.zeros(243)])[target] * extra
        return (each * extra).sum() / mass.sum()

    w = constant(case["pixel_weight"])
    pixel = ((of("image") - constant(case["image"])) ** 2 * w).sum() / (3 * w.sum())
    perceptual = torch.zeros(())
    for i, feature in enumerate(case["features"]):
        lin = torch.from_numpy(case["feature_weights"][i])[:, None, None]
        spatial = constant(case["feature_pixel_weight"][i])
        distance = ((norm(of(f"feature_{i}")) - norm(constant(feature))) ** 2 * lin).sum(1)
        perceptual = perceptual + (distance * spatial).sum() / spatial.sum()
    segmentation = cross_entropy(
        of("segmentation") / WEIGHTS.temperature, case["labels"], constant(case["label_weight"])
    )
    coarse = cross_entropy(of("depth"), case["coarse_labels"], None)
    return torch.stack(
        [
            pixel * WEIGHTS.pixel,
            perceptual * WEIGHTS.perceptual,
            segmentation * WEIGHTS.segmentation,
            coarse * WEIGHTS.coarse,
        ]
    )


def test_values_and_gradients_agree_with_torch_and_the_formula_of_lpips() -> None:
    case, outputs = make_case(), make_outputs()
    tensors = {name: torch.from_numpy(x).clone().requires_grad_() for name, x in outputs.items()}
    expected = torch.stack([_torch_values(tensors, case, sample) for sample in range(2)])
    expected.sum().backward()
    values, gradients = _run(outputs, prepare_target(**case))
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=2e-5)
    for name, tensor in tensors.items():
        assert tensor.grad is not None
        # Zero-norm pixels: torch gives NaN there, we give 0.
        theirs = np.nan_to_num(tensor.grad.numpy())
        error = np.abs(gradients[f"grad_{name}"] - theirs).max()
        assert error < 2e-6 * np.abs(theirs).max(), name


def test_gradients_are_the_slope_of_the_values() -> None:
    target = prepare_target(**make_case(n=1, dtype=np.float64))
    outputs = make_outputs(n=1, dtype=np.float64)
    _, gradients = _run(outputs, target)
    for name, x in outputs.items():
        direction = make_normal(7, *x.shape, dtype=np.float64) * (
            x != 0
        )  # stay off the kink at |x| = 0
        ends = [
            _run({**outputs, name: x + step * direction}, target)[0].sum() for step in (1e-6, -1e-6)
        ]
        slope = (gradients[f"grad_{name}"] * direction).sum()
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-6), name


def test_pixels_without_features_have_their_value_and_no_gradient() -> None:
    x = make_normal(1, 1, 8, 4, 4)
    x[:, :, 1, 2] = 0
    target = prepare_target(
        features=[make_normal(2, 1, 8, 4, 4)], weights=LossWeights(perceptual=1.0)
    )
    values, gradients = _run({"feature_0": x}, target)
    assert np.isfinite(values).all()
    assert (gradients["grad_feature_0"][0, :, 1, 2] == 0).all()
    assert (gradients["grad_feature_0"][0, :, 0, 0] != 0).all()


def test_equal_features_cost_nothing() -> None:
    x = make_normal(1, 2, 48, 16, 16)
    target = prepare_target(features=[x], weights=LossWeights(perceptual=1.0))
    values, gradients = _run({"feature_0": x}, target)
    assert (np.abs(values) < 1e-13).all()
    assert np.abs(gradients["grad_feature_0"]).max() < 1e-8


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 1000))
def test_perceptual_gradient_is_orthogonal_to_the_features(c: int, side: int, seed: int) -> None:
    """The term does not change when a pixel's features are scaled."""
    x = make_normal(seed, 1, c, side, side)
    target = prepare_target(
        features=[make_normal(seed + 1, *x.shape)], weights=LossWeights(perceptual=1.0)
    )
    values, gradients = _run({"feature_0": x}, target)
    g = gradients["grad_feature_0"].astype(np.float64)
    assert values[0, 1] >= 0
    assert np.abs((x * g).sum(1)).max() <= 2e-6 * np.abs(x * g).sum(1).max()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits_neither_overflow_nor_lose_the_gradient(size: float) -> None:
    z = make_normal(1, 1, 13, 8, 8)
    z[:, 4] = size
    target = prepare_target(labels=make_labels(2, 1, 8, 8), weights=LossWeights(segmentation=1.0))
    _assert_close({"segmentation": z}, target, value=1e-6, gradient=1e-6)


def test_cross_entropy_gradient_sums_to_zero_over_the_classes() -> None:
    target = prepare_target(labels=make_labels(2, 2, 33, 9), weights=LossWeights(segmentation=1.0))
    _, gradients = _run({"segmentation": make_normal(1, 2, 13, 33, 9) * 5}, target)
    g = gradients["grad_segmentation"]
    assert np.abs(g.sum(1)).max() < 1e-6 * np.abs(g).max()


def test_exponential_and_logarithm_are_exact_to_a_few_roundings() -> None:
    """One pixel of two classes is log(1 + exp(-gap)), and its gradient the logistic function."""
    gap = np.linspace(0, 86, 4000, dtype=np.float32)
    z = np.zeros((gap.size, 2, 1, 1), np.float32)
    z[:, 1, 0, 0] = -gap
    target = prepare_target(
        labels=np.zeros((gap.size, 1, 1), np.uint8),
        weights=LossWeights(segmentation=1.0),
        classes=2,
    )
    values, gradients = _run({"segmentation": z}, target)
    exact = np.exp(-gap.astype(np.float64))
    np.testing.assert_allclose(values[:, 2], np.log1p(exact), rtol=1e-6, atol=1e-7)
    second = gradients["grad_segmentation"][:, 1, 0, 0]
    np.testing.assert_allclose(second, exact / (1 + exact), rtol=4e-7)


@pytest.mark.parametrize("left_out", ["pixel", "perceptual", "segmentation", "coarse"])
def test_a_term_of_weight_zero_leaves_the_others_as_they_are(left_out: str) -> None:
    outputs = make_outputs()
    everything, gradients = _run(outputs, prepare_target(**make_case()))
    weights = LossWeights(**{**vars(WEIGHTS), left_out: 0.0})
    values, remaining = _run(outputs, prepare_target(**make_case(weights=weights)))
    column = ["pixel", "perceptual", "segmentation", "coarse"].index(left_out)
    assert (values[:, column] == 0).all()
    others = [i for i in range(4) if i != column]
    assert (values[:, others] == everything[:, others]).all()
    name = {"pixel": "image", "perceptual": "feature", "segmentation": "seg", "coarse": "depth"}
    for key, gradient in remaining.items():
        zero = key.startswith(f"grad_{name[left_out]}")
        assert (gradient == (0 if zero else gradients[key])).all()


def test_only_what_has_a_target_has_a_gradient() -> None:
    target = prepare_target(image=make_normal(1, 1, 3, 8, 8), weights=WEIGHTS)
    values, gradients = _run({"image": make_normal(2, 1, 3, 8, 8)}, target)
    assert list(gradients) == ["grad_image"]
    assert (values[0, 1:] == 0).all()


def test_an_empty_batch_has_no_values() -> None:
    target = prepare_target(**make_case(n=0))
    values, gradients = _run(make_outputs(n=0), target)
    assert values.shape == (0, 4)
    assert gradients["grad_image"].shape == (0, 3, 37, 41)


def test_a_sample_without_weight_has_value_and_gradient_zero() -> None:
    case = make_case()
    case["pixel_weight"][0] = 0
    case["labels"][0] = 255
    values, gradients = _run(make_outputs(), prepare_target(**case))
    assert values[0, 0] == values[0, 2] == 0
    assert values[1, 0] > 0
    assert (gradients["grad_image"][0] == 0).all()
    assert (gradients["grad_segmentation"][0] == 0).all()


def test_results_are_the_same_bits_for_any_number_of_threads() -> None:
    outputs, target = make_outputs(), prepare_target(**make_case())
    values, gradients = _run(outputs, target, threads=1)
    values = values.copy()
    for threads in (2, 3, 7):
        again, again_gradients = _run(outputs, target, threads=threads)
        assert (again == values).all()
        assert all((again_gradients[key] == gradients[key]).all() for key in gradients)


def test_results_are_the_same_bits_alone_and_in_a_batch() -> None:
    case, outputs = make_case(n=3), make_outputs(n=3)
    values, gradients = _run(outputs, prepare_target(**case))

    def alone(x: Any) -> Any:
        if isinstance(x, list):
            return [alone(item) for item in x]
        return x[1:2] if isinstance(x, np.ndarray) and x.ndim > 1 else x

    one = {key: alone(x) for key, x in case.items()}
    one["feature_weights"] = case["feature_weights"]
    again, again_gradients = _run({k: alone(x) for k, x in outputs.items()}, prepare_target(**one))
    assert (again[0] == values[1]).all()
    assert all((again_gradients[key][0] == gradients[key][1]).all() for key in gradients)


def test_nan_stays_in_its_sample_and_pixel() -> None:
    outputs, target = make_outputs(), prepare_target(**make_case())
    _, clean = _run(outputs, target)
    broken = {key: x.copy() for key, x in outputs.items()}
    for x in broken.values():
        x[1, 1, 0, 1] = np.nan
    values, gradients = _run(broken, target)
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1]).all()
    for key, gradient in gradients.items():
        assert np.isnan(gradient[1, 1, 0, 1]), key
        bad = np.isnan(gradient).any(axis=1)
        assert bad.sum() == 1, key
        keep = np.broadcast_to(~bad[:, None], gradient.shape)
        assert (gradient[keep] == clean[key][keep]).all(), key


def test_the_loop_allocates_nothing_and_rewrites_its_buffers() -> None:
    outputs, target = make_outputs(), prepare_target(**make_case())
    buffers = buffers_for(target)
    first = inversion_loss(outputs, target, buffers)
    kept = first.copy()
    second = inversion_loss({k: x * 2 for k, x in outputs.items()}, target, buffers)
    assert second is first
    assert (second != kept).any()


def test_torch_tensors_come_in_by_the_same_door() -> None:
    outputs, target = make_outputs(), prepare_target(**make_case())
    values, _ = _run(outputs, target)
    again, _ = _run({k: torch.from_numpy(x) for k, x in outputs.items()}, target)
    assert (again == values).all()


def test_read_only_outputs_are_read() -> None:
    outputs, target = make_outputs(), prepare_target(**make_case())
    for x in outputs.values():
        x.flags.writeable = False
    assert np.isfinite(_run(outputs, target)[0]).all()


@pytest.mark.needs_cuda
def test_cuda_agrees_with_the_reference_and_repeats_bit_for_bit() -> None:
    cupy = pytest.importorskip("cupy")

    def move(x: Any) -> Any:
        if isinstance(x, list):
            return [move(item) for item in x]
        return cupy.asarray(x) if isinstance(x, np.ndarray) else x

    case, outputs = make_case(), make_outputs()
    target = prepare_target(**{key: move(x) for key, x in case.items()})
    on_device = {key: cupy.asarray(x) for key, x in outputs.items()}
    with cupy.cuda.Stream(non_blocking=True) as stream:
        values, gradients = _run(on_device, target)
        again, again_gradients = _run(on_device, target)
        stream.synchronize()
    expected, expected_gradients = inversion_loss_reference(outputs, prepare_target(**case))
    np.testing.assert_allclose(cupy.asnumpy(values), expected, rtol=1e-6)
    assert bool((values == again).all())
    for key, theirs in expected_gradients.items():
        error = np.abs(cupy.asnumpy(gradients[key]) - theirs).max()
        assert error <= 1e-6 * np.abs(theirs).max(), key
        assert bool((gradients[key] == again_gradients[key]).all())
