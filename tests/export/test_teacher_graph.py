"""Teachers in torch: every operator equals onnxruntime's, and gradients reach the image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from training_data import TEACHERS, initializer, save_graph, write_teachers

from vera.errors import UsageError
from vera_export.training.teacher_graph import Differentiable, Graph
from vera_export.training.teachers import Labeller, read_graph

HW = {"kernel_shape": [3, 3], "strides": [2, 2]}
# Operator, its other inputs (shape of random weights, or integers), attributes.
CASES: dict[str, tuple[str, list[tuple[int, ...] | list[int]], dict[str, Any]]] = {
    "add": ("Add", [(4, 1, 1)], {}),
    "mul": ("Mul", [(4, 1, 1)], {}),
    "sub": ("Sub", [(1, 4, 1, 1)], {}),
    "relu": ("Relu", [], {}),
    "sigmoid": ("Sigmoid", [], {}),
    "prelu": ("PRelu", [(4, 1, 1)], {}),
    "concat": ("Concat", [(2, 1, 9, 8)], {"axis": 1}),
    "softmax": ("Softmax", [], {"axis": 1}),
    "softmax over the last axis": ("Softmax", [], {}),
    "conv": ("Conv", [(6, 4, 3, 3), (6,)], {"pads": [1, 1, 1, 1], "strides": [2, 1]}),
    "conv without bias": ("Conv", [(6, 4, 3, 3)], {"dilations": [2, 2], "group": 1}),
    "conv padded on one side": ("Conv", [(6, 4, 3, 3)], {"pads": [0, 0, 1, 1], **HW}),
    "conv by channel": ("Conv", [(4, 1, 3, 3)], {"group": 4, "pads": [1, 1, 1, 1]}),
    "pool": ("MaxPool", [], HW),
    "pool rounded up": ("MaxPool", [], {"ceil_mode": 1, **HW}),
    "pool padded": ("MaxPool", [], {"pads": [1, 1, 1, 1], **HW}),
    "pool padded on one side": ("MaxPool", [], {"pads": [0, 0, 1, 1], **HW}),
    "pad": ("Pad", [[0, 1, 0, 2, 0, 3, 1, 0]], {}),
    "mean": ("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}),
    "mean that keeps the axes": ("ReduceMean", [], {"axes": [2, 3]}),
    "max": ("ReduceMax", [], {"axes": [2, 3], "keepdims": 0}),
    "flatten": ("Flatten", [], {"axis": 1}),
    "flatten after two axes": ("Flatten", [], {"axis": 2}),
    "reshape": ("Reshape", [[0, -1, 8]], {}),
}


def one_operator(path: Path, case: str) -> None:
    """image [n, 4, 9, 8] into this one operator."""
    operator, others, attributes = CASES[case]
    weights = [
        numpy_helper.from_array(np.array(other), f"w.{k}")
        if isinstance(other, list)
        else initializer(f"w.{k}", *other)
        for k, other in enumerate(others)
    ]
    node = helper.make_node(operator, ["image", *(w.name for w in weights)], ["y"], **attributes)
    save_graph(path, [node], weights, ["y"], ("n", 4, 9, 8))


def both(path: Path, *shape: int) -> tuple[list[np.ndarray], list[np.ndarray], torch.Tensor]:
    """Outputs in torch and of onnxruntime, and the gradient of their squares at the image."""
    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    image = torch.from_numpy(x).requires_grad_()
    ours = Differentiable(path)(image)
    torch.stack([y.square().sum() for y in ours]).sum().backward()
    return [y.detach().numpy() for y in ours], Labeller(path)(x), image.grad


@pytest.mark.parametrize("case", CASES)
def test_operator_equals_onnxruntime_and_passes_a_gradient(case: str, tmp_path: Path) -> None:
    one_operator(tmp_path / "one.onnx", case)
    (ours,), (theirs,), gradient = both(tmp_path / "one.onnx", 2, 4, 9, 8)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("transposed", [0, 1])
def test_matrix_product_equals_onnxruntime(transposed: int, tmp_path: Path) -> None:
    weights = [initializer("w", *((5, 4) if transposed else (4, 5))), initializer("bias", 5)]
    options = {"transB": transposed, "alpha": 0.5, "beta": 2.0}
    node = helper.make_node("Gemm", ["image", "w", "bias"], ["y"], **options)
    save_graph(tmp_path / "one.onnx", [node], weights, ["y"], ("n", 4))
    (ours,), (theirs,), _ = both(tmp_path / "one.onnx", 3, 4)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TEACHERS)
def test_whole_teacher_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    write_teachers(tmp_path)
    channels, side = TEACHERS[name]
    ours, theirs, gradient = both(tmp_path / f"{name}.onnx", 2, channels, side, side)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
    assert torch.isfinite(gradient).all()


def test_graph_survives_json(tmp_path: Path) -> None:
    write_teachers(tmp_path)
    graph = read_graph(tmp_path / "facemesh468.onnx")
    again = Graph.described(json.loads(json.dumps(graph.describe())), graph.arrays)
    assert again.nodes == graph.nodes
    x = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    for a, b in zip(Differentiable(graph)(x), Differentiable(again)(x), strict=True):
        torch.testing.assert_close(a, b)


def test_first_outputs_need_nothing_of_the_later_ones(tmp_path: Path) -> None:
    write_teachers(tmp_path)
    graph = read_graph(tmp_path / "perceptual_squeezenet10.onnx")
    first = graph.first(2)
    assert first.outputs == ("m0", "m1")
    assert set(first.arrays) == {"mean", "w0", "w1"}
    x = torch.rand(1, 3, 64, 64) * 255
    for a, b in zip(Differentiable(graph, 2)(x), Differentiable(graph)(x), strict=False):
        torch.testing.assert_close(a, b)


def test_everything_moves_to_another_device_and_nothing_is_trained_or_stored(
    tmp_path: Path,
) -> None:
    write_teachers(tmp_path)
    teacher = Differentiable(tmp_path / "facemesh468.onnx").to("meta")
    landmarks, flag = teacher(torch.empty(2, 3, 192, 192, device="meta"))
    assert (landmarks.shape, landmarks.device.type) == ((2, 468, 3), "meta")
    assert flag.shape == (2, 1)
    assert not list(teacher.parameters())
    assert not teacher.state_dict()


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (helper.make_node("Tan", ["image"], ["y"]), "the operator Tan, which"),
        (helper.make_node("Conv", ["image", "w"], ["y"], auto_pad="SAME_UPPER"), "auto_pad"),
    ],
)
def test_what_cannot_be_run_exactly_is_refused(
    node: onnx.NodeProto, sentence: str, tmp_path: Path
) -> None:
    save_graph(tmp_path / "one.onnx", [node], [initializer("w", 4, 4, 3, 3)], ["y"], (1, 4, 9, 8))
    with pytest.raises(UsageError, match=sentence):
        Differentiable(tmp_path / "one.onnx")
