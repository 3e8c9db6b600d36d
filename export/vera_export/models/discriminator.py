"""Dual-branch discriminator on image and part map; used in training only."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.layers import activate


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Size of the discriminator, and what it looks at.

    Attributes:
        widths: Channels at each side, halved from one to the next.
        side: Side of the looked-at square, in pixels of the part map; 128 is the whole crop.
        whole: One score per image (with the minibatch's deviation, Karras 2018), not per patch.
        group: Images over which the minibatch's deviation is taken.
    """

    widths: tuple[int, ...] = (48, 64, 96, 128)
    side: int = 64
    whole: bool = False
    group: int = 4

    @classmethod
    def large(cls) -> "DiscriminatorConfig":
        """Whole crops down to 4 x 4, as in SemanticStyleGAN: for a GPU."""
        return cls((64, 96, 160, 256, 320), contract.SEGMENTATION_SIZE, whole=True)

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
    """Image [n, 3, 2s, 2s] and part map [n, 13, s, s] in [-1, 1] -> scores [n, p].

    Towers of equal shape whose outputs are added, as in SemanticStyleGAN. The small one gives one
    score per patch (Isola 2017, arXiv 1611.07004) of a window, not one per image: what two CPU
    cores can train is sharpness.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.config = cfg = config or DiscriminatorConfig()
        widths, last = cfg.widths, cfg.widths[-1]
        self.image = Tower(12, widths)
        self.parts = Tower(contract.CLASS_COUNT, widths)
        self.last = EqualConv(last + int(cfg.whole), last, 3)
        self.score = EqualConv(last, 1, (cfg.side >> len(widths)) if cfg.whole else 1)
        if cfg.whole:
            self.score.padding = 0

    def forward(self, image: Tensor, parts: Tensor) -> Tensor:
        """Scores every patch, or the whole."""
        x = self.image(nn.functional.pixel_unshuffle(image, 2)) + self.parts(parts)
        if self.config.whole:
            x = torch.cat([x, self._deviation(x)], 1)
        scores: Tensor = self.score(activate(self.last(x)))
        return scores.flatten(1).float()

    def _deviation(self, x: Tensor) -> Tensor:
        """Mean standard deviation over groups of the batch, as a further map [n, 1, h, w]."""
        n, c, h, w = x.shape
        group = self.config.group if n % self.config.group == 0 else n
        y = x.reshape(group, n // group, c, h, w).float()
        spread = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        return spread.repeat(group)[:, None, None, None].expand(n, 1, h, w).to(x.dtype)
