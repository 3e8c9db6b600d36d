"""Every rewrite is the same function: values and gradients, in float64."""

import pytest
import torch
from torch import nn

from vera.errors import VeraError
from vera_export import derivatives, nodes, rewrites
from vera_export.parity import check_rewrite


def _rand(*shape: int, grad: bool = True) -> torch.Tensor:
    value = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return value.requires_grad_(grad)


def test_folded_networks_equal_their_sources_in_values_and_gradient(
    tiny_networks: dict[str, nn.Module],
) -> None:
    figures = check_rewrite(tiny_networks["generator"], tiny_networks["perceptual"])
    assert figures["grad_latent"]["maximum"] < 1e-10
    assert len(figures) == 8


def test_a_wrong_fold_is_refused(
    tiny_networks: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrites, "_GAIN", 1.41)
    with pytest.raises(VeraError, match="does not agree"):
        check_rewrite(tiny_networks["generator"], tiny_networks["perceptual"])


def test_convolution_gradient_is_a_convolution_with_the_flipped_weight() -> None:
    weight, bias = _rand(5, 3, 3, 3, grad=False), _rand(5, grad=False)
    assert torch.autograd.gradcheck(
        lambda x: derivatives.Convolve.apply(x, weight, bias), (_rand(2, 3, 6, 5),)
    )


@pytest.mark.parametrize("slope", [0.2, 0.0])
def test_leaky_gradient_from_the_output_equals_that_from_the_input(slope: float) -> None:
    x = _rand(2, 3, 4, 4)
    assert torch.autograd.gradcheck(lambda x: derivatives.Leaky.apply(x, slope), (x,))


@pytest.mark.parametrize("layer", [derivatives.Shuffle, derivatives.Pool])
def test_layer_gradient_matches_finite_differences(layer: type[torch.autograd.Function]) -> None:
    assert torch.autograd.gradcheck(layer.apply, (_rand(2, 8, 4, 6),))


def test_split_gradient_joins_the_pieces() -> None:
    assert torch.autograd.gradcheck(
        lambda x: derivatives.Split.apply(x, 1, 3, 2), (_rand(2, 6, 3),)
    )


@pytest.mark.parametrize(("a", "b"), [((2, 3, 4), (2, 4, 5)), ((2, 6, 3, 4), (2, 6, 4, 2))])
def test_product_gradient_matches_finite_differences(
    a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    assert torch.autograd.gradcheck(derivatives.Product.apply, (_rand(*a), _rand(*b)))


def test_product_broadcasts_a_frozen_operand() -> None:
    frozen = _rand(3, 4, grad=False)
    assert torch.autograd.gradcheck(
        lambda x: derivatives.Product.apply(frozen, x), (_rand(2, 4, 5),)
    )


def test_unshuffle_undoes_shuffle() -> None:
    x = _rand(2, 12, 3, 5, grad=False)
    assert torch.equal(nodes.unshuffle(nodes.shuffle(x)), x)
