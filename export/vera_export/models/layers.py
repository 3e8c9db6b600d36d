"""Layers shared by the generator and the encoder, written so that their gradients export.

Every layer's derivative consists of convolutions, matrix products, reshapes and elementwise
operations: the gradients of pooling and resizing operators have no ONNX translation.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

LEAK = 0.2


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2 and gain sqrt(2), which keeps the variance (StyleGAN2)."""
    return nn.functional.leaky_relu(x, LEAK) * math.sqrt(2)


def mean_pool(x: Tensor, factor: int = 2) -> Tensor:
    """Mean over ``factor`` x ``factor`` squares of [n, c, h, w], by reshape."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // factor, factor, w // factor, factor).mean((3, 5))


def interpolation_matrix(size: int, factor: int = 2, *, zeros: bool = False) -> Tensor:
    """Matrix [size * factor, size] of linear interpolation, half-pixel centres.

    The edge is repeated outwards, or, with ``zeros``, surrounded by zeros; for a factor of two that
    is StyleGAN2's enlargement by the filter [1, 3, 3, 1].
    """
    if zeros:
        return interpolation_matrix(size + 2, factor)[factor:-factor, 1:-1].contiguous()
    position = (torch.arange(size * factor, dtype=torch.float64) + 0.5) / factor - 0.5
    position = position.clamp(0, size - 1)
    low = position.floor().long().clamp(max=max(size - 2, 0))
    fraction = position - low
    matrix = torch.zeros(size * factor, size, dtype=torch.float64)
    rows = torch.arange(size * factor)
    matrix[rows, low] += 1 - fraction
    matrix[rows, (low + 1).clamp(max=size - 1)] += fraction
    return matrix.float()


class Upsample(nn.Module):
    """Bilinear enlargement [n, c, s, s] -> [n, c, 2s, 2s], two products with a constant matrix."""

    matrix: Tensor

    def __init__(self, size: int, *, zeros: bool = False) -> None:
        """``size`` is the side s of the input; ``zeros`` as in :func:`interpolation_matrix`."""
        super().__init__()
        self.register_buffer("matrix", interpolation_matrix(size, zeros=zeros), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges ``x``."""
        return self.matrix @ x @ self.matrix.T


class Conv(nn.Module):
    """3x3 convolution, stride 1, zero padding, then :func:`activate`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Channels in and out."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=1 / math.sqrt(9 * inputs))
        nn.init.zeros_(cast(Tensor, self.conv.bias))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h, w]."""
        return activate(self.conv(x))


class UpConv(nn.Module):
    """Sub-pixel convolution (Shi 2016, arXiv 1609.05158): 3x3 to 4c channels, depth to space.

    Costs what a 3x3 convolution after an enlargement costs, and needs no resize operator. All four
    phases start from one kernel (ICNR, arXiv 1707.02937), which is a nearest-neighbour enlargement.
    Training moves them apart, and a pattern of the size of a cell comes to lie on smooth areas;
    :meth:`equalise` takes back the part of it that even a constant input would show.
    """

    def __init__(self, inputs: int, outputs: int, *, linear: bool = False) -> None:
        """Channels in and out; ``linear`` leaves the activation out."""
        super().__init__()
        self.linear = linear
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
        kernel = torch.randn(outputs, inputs, 3, 3) / math.sqrt(9 * inputs)
        with torch.no_grad():
            self.conv.weight.copy_(kernel.repeat_interleave(4, 0) * (0.1 if linear else 1.0))
            cast(Tensor, self.conv.bias).zero_()

    @torch.no_grad()
    def equalise(self) -> None:
        """Gives the four phases of each output the same sum of weights per input, and one bias.

        The nearest such weights. A constant input then gives a constant output (equal steady-state
        responses of the phases, Sugawara 2018), as with a filter after the enlargement, but at no
        cost when running. Averages of such weights are such weights.
        """
        weight = self.conv.weight.view(-1, 4, *self.conv.weight.shape[1:])
        level = weight.mean((3, 4), keepdim=True)
        weight += level.mean(1, keepdim=True) - level
        assert self.conv.bias is not None
        bias = self.conv.bias.view(-1, 4)
        bias.copy_(bias.mean(1, keepdim=True).expand_as(bias))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, 2h, 2w]."""
        y = nn.functional.pixel_shuffle(self.conv(x), 2)
        return y if self.linear else activate(y)
