"""Dual-branch patch discriminator on image and part map; used in training only."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.layers import activate


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Channels at each side, halved from one to the next."""

    widths: tuple[int, ...] = (48, 64, 96, 128)

    @classmethod
    def tiny(cls) -> "DiscriminatorConfig":
        """The smallest widths, for tests."""
        return cls((4, 4, 4))


class EqualConv(nn.Module):
    """Convolution with equalised learning rate: unit-variance weights, scaled at run time."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """Channels, kernel side and stride; padding keeps the size at stride 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs * kernel * kernel)
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h / stride, w / stride]."""
        return nn.functional.conv2d(
            x, self.weight * self.scale, self.bias, self.stride, self.padding
        )


class Tower(nn.Module):
    """Residual tower: halves the side once per width."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        """``inputs`` channels at full side."""
        super().__init__()
        self.entry = EqualConv(inputs, widths[0], 1)
        pairs = list(zip(widths, (*widths[1:], widths[-1]), strict=True))
        self.first = nn.ModuleList(EqualConv(a, a, 3) for a, _ in pairs)
        self.second = nn.ModuleList(EqualConv(a, b, 3, 2) for a, b in pairs)
        self.skip = nn.ModuleList(EqualConv(a, b, 1) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, s, s] -> [n, widths[-1], s / 2^len, s / 2^len]."""
        x = activate(self.entry(x))
        for first, second, skip in zip(self.first, self.second, self.skip, strict=True):
            y = activate(second(activate(first(x))))
            x = (y + skip(nn.functional.avg_pool2d(x, 2))) / math.sqrt(2)
        return x


class Discriminator(nn.Module):
    """Windows of image [n, 3, 2s, 2s] and part map [n, 13, s, s] in [-1, 1] -> scores [n, p].

    Towers of equal shape whose outputs are added, as in SemanticStyleGAN; but one score per patch
    (Isola 2017, arXiv 1611.07004) of a window, not one per image: what two CPU cores can train is
    sharpness.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        """Builds the network with random weights."""
        super().__init__()
        widths = (config or DiscriminatorConfig()).widths
        self.image = Tower(12, widths)
        self.parts = Tower(contract.CLASS_COUNT, widths)
        self.last = EqualConv(widths[-1], widths[-1], 3)
        self.score = EqualConv(widths[-1], 1, 1)

    def forward(self, image: Tensor, parts: Tensor) -> Tensor:
        """Scores every patch."""
        x = self.image(nn.functional.pixel_unshuffle(image, 2)) + self.parts(parts)
        scores: Tensor = self.score(activate(self.last(x)))
        return scores.flatten(1).float()
