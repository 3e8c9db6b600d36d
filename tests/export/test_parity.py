"""The gate passes engines that agree and refuses those that do not."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from vera import contract
from vera.errors import VeraError
from vera_export import parity
from vera_export.rewrites import FoldedGenerator, FoldedPerceptual
from vera_export.to_onnx import GradientPair, generator_function, perceptual_to_onnx

LIMIT = contract.Tolerance(1e-4, 1e-4, "test")


def _perturbed(model: onnx.ModelProto, factor: float) -> bytes:
    """The model with its largest constant scaled."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    largest = max(copy.graph.initializer, key=lambda t: int(np.prod(t.dims)))
    value = numpy_helper.to_array(largest) * np.float32(factor)
    largest.CopyFrom(numpy_helper.from_array(value, largest.name))
    return copy.SerializeToString()


def test_share_of_the_tolerance_counts_the_size_of_the_reference() -> None:
    found = parity.compare("x", [(np.array([10.0011]), np.array([10.0]))], LIMIT)
    assert found.share == pytest.approx(0.0011 / 0.0011, rel=1e-3)
    assert found.maximum == pytest.approx(0.0011, rel=1e-3)


@pytest.mark.parametrize("value", [np.array([np.nan]), np.array([np.inf]), np.zeros((2, 1))])
def test_a_value_that_is_not_finite_or_of_another_shape_never_agrees(value: np.ndarray) -> None:
    with pytest.raises(VeraError, match="does not agree"):
        parity.require("x", [parity.compare("y", [(value, np.array([1.0]))], LIMIT)])


def test_perceptual_engine_agrees(tiny_networks: dict[str, nn.Module]) -> None:
    network = tiny_networks["perceptual"]
    engine = parity.session(perceptual_to_onnx(network).SerializeToString())
    figures = parity.check_engine(engine, contract.PERCEPTUAL, network)
    assert max(f["share"] for f in figures.values()) < 1


def test_a_wrong_weight_is_refused(tiny_networks: dict[str, nn.Module]) -> None:
    network = tiny_networks["perceptual"]
    engine = parity.session(_perturbed(perceptual_to_onnx(network), 1.01))
    with pytest.raises(VeraError, match=r"perceptual does not agree.*feature_"):
        parity.check_engine(engine, contract.PERCEPTUAL, network)


def test_an_engine_that_ignores_its_input_is_refused(tiny_networks: dict[str, nn.Module]) -> None:
    """What an exporter makes when it saves a result as a constant."""
    network = tiny_networks["perceptual"]
    constant = [f.numpy() for f in network(torch.zeros(1, 3, 256, 256))]

    class Baked:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            n = len(feed["crop"])
            return [np.repeat(c, n, 0) for c in constant]

    with pytest.raises(VeraError, match="does not agree"):
        parity.check_engine(Baked(), contract.PERCEPTUAL, network)  # type: ignore[arg-type]


def test_gradient_engines_agree_link_by_link(
    tiny_networks: dict[str, nn.Module], tiny_pair: GradientPair
) -> None:
    folded = generator_function(
        FoldedGenerator(tiny_networks["generator"]), FoldedPerceptual(tiny_networks["perceptual"])
    )
    parity.check_trace(tiny_pair.split, folded)
    forward = parity.session(tiny_pair.forward.SerializeToString())
    backward = parity.session(tiny_pair.backward.SerializeToString())
    figures = parity.check_backward(forward, backward, tiny_pair.split)
    assert figures["grad_latent"]["share"] < 1


def test_a_wrong_weight_in_the_gradient_is_refused(tiny_pair: GradientPair) -> None:
    forward = parity.session(tiny_pair.forward.SerializeToString())
    backward = parity.session(_perturbed(tiny_pair.backward, 1.001))
    with pytest.raises(VeraError, match=r"generator_backward does not agree.*grad_latent"):
        parity.check_backward(forward, backward, tiny_pair.split, batches=(1,))
