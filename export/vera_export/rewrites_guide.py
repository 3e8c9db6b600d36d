"""Exact rewrite of the guide: the crop networks with derivatives made of operators that ONNX has.

Embedder and attribute network have what the generator has not: convolutions of stride 2, a
convolution over the whole map, enlargements by repetition. A test compares values and gradient with
the networks themselves.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.derivatives import (
    Convolve,
    Huber,
    Leaky,
    Pool,
    Product,
    Repeat,
    Stride,
    call,
)
from vera_export.models.attributes import COUNTS, ranged
from vera_export.models.convolution import ConvNorm, Residual
from vera_export.models.guide import Guide


class FoldedGuide(nn.Module):
    """``Guide`` with the gradients above; the same values."""

    taps_3: Tensor
    taps_4: Tensor

    def __init__(self, source: Guide) -> None:
        """Shares the parameters of ``source``."""
        super().__init__()
        self.source = source
        for size in (3, 4):  # a kernel's place among the six taps of a stride-2 gradient
            taps = torch.eye(6)[:, 1 : 1 + size].to(source.rows)
            self.register_buffer(f"taps_{size}", taps.contiguous())

    def forward(self, image: Tensor, *wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Same values as ``Guide.forward``."""
        rows, columns = self.source.rows, self.source.columns
        embedding, *targets = wanted
        found = self._embedding(call(Product, rows, call(Product, image, columns.T)))
        small = image
        for _ in range(self.source.pools):
            small = call(Pool, small)
        return (found * embedding).sum(1), _loss(self._attributes(small), targets)

    def _embedding(self, x: Tensor) -> Tensor:
        network = self.source.embedder
        for stage in network.stages:
            x = self._run(x, stage)
        place = network.place.conv  # over the whole map: a product with its weight, summed
        assert place.bias is not None
        x = (x * place.weight.reshape(x.shape[1:])).sum((2, 3)) + place.bias
        x = _linear(x, network.out.weight, network.out.bias)
        return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-12)

    def _attributes(self, face: Tensor) -> tuple[Tensor, ...]:
        network = self.source.attributes
        fine = self._run(face, network.fine)
        middle = self._run(fine, network.middle)
        x = coarse = self._run(middle, network.coarse)
        for lateral, merge, skip in zip(
            network.lateral, network.merge, (middle, fine), strict=True
        ):
            x = self._run(call(Repeat, self._run(x, lateral)) + skip, merge)
        heat = nn.functional.conv2d(x.detach(), network.heat.weight, network.heat.bias, padding=1)
        looked_at = torch.softmax(heat.flatten(2), 2)
        seen = call(Product, looked_at, x.flatten(2).transpose(1, 2)).flatten(1)
        mean = coarse.sum((2, 3)) * (1 / coarse[0, 0].numel())
        # Weights are split where values would have to be joined or cut: constants have no gradient.
        of_mean, of_seen = network.hidden.weight.split((mean.shape[1], seen.shape[1]), 1)
        hidden = _linear(mean, of_mean, network.hidden.bias) + call(Product, seen, of_seen.T)
        features = call(Leaky, hidden, 0.0)
        weights, biases = (p.split(COUNTS) for p in network.heads.parameters())
        values = [_linear(features, w, b) for w, b in zip(weights, biases, strict=True)]
        return ranged(tuple(values))[:4]

    def _run(self, x: Tensor, layer: nn.Module) -> Tensor:
        if isinstance(layer, nn.Sequential):
            for inner in layer:
                x = self._run(x, inner)
            return x
        if isinstance(layer, Residual):
            y: Tensor = call(Leaky, x + self._run(self._run(x, layer.first), layer.second), 0.0)
            return y
        assert isinstance(layer, ConvNorm)
        assert layer.norm is None
        weight, bias = layer.conv.weight, layer.conv.bias
        if layer.conv.stride == (1, 1):
            y = call(Convolve, x, weight, bias)
        else:
            y = call(Stride, x, weight, bias, getattr(self, f"taps_{weight.shape[-1]}"))
        return y if layer.linear else call(Leaky, y, 0.0)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y: Tensor = call(Product, x, weight.T) + bias
    return y


def _loss(found: tuple[Tensor, ...], wanted: list[Tensor]) -> Tensor:
    total = 0.0
    for a, b, unit in zip(found, wanted, contract.GUIDED.values(), strict=True):
        terms = call(Huber, (a - b) * (1 / unit))
        total = total + terms.sum(1) * (1 / (len(contract.GUIDED) * a.shape[1]))
    assert isinstance(total, Tensor)
    return total


def guide_function(guide: nn.Module) -> Callable[..., tuple[Tensor, ...]]:
    """Inputs of the engine -> its outputs, of a guide or its folded form."""

    def outputs(image: Tensor, *wanted: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            image = image.detach().requires_grad_(True)
            cosine, loss = guide(image, *wanted)
            (of_cosine,) = torch.autograd.grad(cosine, image, torch.ones_like(cosine))
            (of_loss,) = torch.autograd.grad(loss, image, torch.ones_like(loss))
        return cosine.detach(), of_cosine, loss.detach(), of_loss

    return outputs
