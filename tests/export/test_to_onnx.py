"""Tracing, splitting and lowering: no batch size is baked in, unknown operators are refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vera import contract
from vera.errors import VeraError
from vera_export import parity
from vera_export.differentiate import differentiate, trace_forward, vector_jacobian
from vera_export.emit import emit
from vera_export.to_onnx import GradientPair, example_inputs, module_to_onnx

X = torch.zeros(1, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * x.shape[0],),
        lambda x: (x * torch.full((4,), float(len(x))),),
        lambda x: (torch.cat([x] * x.shape[0], 1),),
    ],
    ids=["factor", "constant", "structure"],
)
def test_dependence_on_the_batch_size_is_refused(function: object) -> None:
    with pytest.raises(VeraError, match="batch"):
        trace_forward(function, X)  # type: ignore[arg-type]


def test_operator_without_a_rule_is_refused_by_name() -> None:
    graph = trace_forward(lambda x: (torch.sin(x),), X)
    with pytest.raises(VeraError, match=r"aten\.sin"):
        emit(graph, [("x", (None, 4))], [("y", (None, 4))])


def test_a_small_function_and_its_gradient_run_at_any_batch_size() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return (torch.softmax(x * x + 1, 1), (x - 0.5).reshape(-1, 2, 2).sum(1))

    split = differentiate(function, X)
    shapes = list(zip(split.saved, split.shapes, strict=True))
    outputs = [("a", (None, 4)), ("b", (None, 2))]
    ahead = parity.session(
        emit(split.forward, [("x", (None, 4))], [*outputs, *shapes]).SerializeToString()
    )
    grads = [("grad_a", (None, 4)), ("grad_b", (None, 2))]
    back = parity.session(
        emit(split.backward, [*shapes, *grads], [("grad_x", (None, 4))]).SerializeToString()
    )
    for n in (1, 2, 5):
        x, ga, gb = torch.randn(n, 4), torch.randn(n, 4), torch.randn(n, 2)
        a, b, *saved = ahead.run(None, {"x": x.numpy()})
        feed = dict(zip(split.saved, saved, strict=True)) | {
            "grad_a": ga.numpy(),
            "grad_b": gb.numpy(),
        }
        (grad,) = back.run(None, feed)
        wanted = vector_jacobian(function, x, ga, gb)
        for found, expected in zip((a, b, grad), wanted, strict=True):
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_saved_activations_have_one_open_axis_the_batch(tiny_pair: GradientPair) -> None:
    assert all(shape.count(None) == 1 for shape in tiny_pair.split.shapes)
    saved = {o.name for o in tiny_pair.forward.graph.output} & {
        i.name for i in tiny_pair.backward.graph.input
    }
    assert saved == set(tiny_pair.split.saved)


def test_gradient_consists_of_plain_convolutions_and_products(tiny_pair: GradientPair) -> None:
    kinds = {node.op_type for node in tiny_pair.backward.graph.node}
    assert {"Conv", "MatMul", "Resize"} <= kinds
    assert not kinds & {"ConvTranspose", "ScatterND", "GatherND", "Gather", "Where", "Pad"}


@pytest.mark.slow
def test_detector_takes_any_height_and_width(tiny_networks: dict[str, nn.Module]) -> None:
    detector = tiny_networks["detector"]
    engine = parity.session(module_to_onnx(detector, contract.DETECTOR).SerializeToString())
    for height, width in ((64, 96), (160, 64)):
        photo = torch.rand(1, 3, height, width)
        scores = engine.run(["scores"], {"photo": photo.numpy()})[0]
        np.testing.assert_allclose(scores, detector(photo)[0].numpy(), atol=1e-4)


def test_example_part_maps_are_one_hot() -> None:
    labels = example_inputs(contract.ENCODER, 2)[1]
    assert torch.equal(labels.sum(1), torch.ones_like(labels[:, 0]))
