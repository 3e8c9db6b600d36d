"""Projected discriminator: small judges on the frozen features of a perceptual network.

Projected GANs (Sauer 2021, arXiv 2111.01007): a discriminator that sees the features of a trained
network instead of pixels separates real from made after a few steps, where one from nothing needs
thousands; that matters where steps are dear and images few. Used in training only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ProjectedConfig:
    """Width of the fixed random projection of each map, and of the judges' hidden layers."""

    projected: int = 64
    hidden: int = 64

    @classmethod
    def tiny(cls) -> "ProjectedConfig":
        """The smallest widths, for tests."""
        return cls(4, 4)


class ProjectedDiscriminator(nn.Module):
    """Feature maps [n, c_i, h_i, w_i] -> one score per cell of each map, [n, cells].

    Each map is normalised over its channels, mixed by a fixed random 1x1 convolution, and judged by
    two small convolutions with spectral normalisation.
    """

    def __init__(self, channels: tuple[int, ...], config: ProjectedConfig | None = None) -> None:
        """``channels`` of the maps."""
        super().__init__()
        cfg = config or ProjectedConfig()
        self.mixing = nn.ModuleList(nn.Conv2d(c, cfg.projected, 1) for c in channels)
        self.mixing.requires_grad_(False)
        self.judges = nn.ModuleList(
            nn.Sequential(
                _spectral(nn.Conv2d(cfg.projected, cfg.hidden, 4, 2, 1)),
                nn.LeakyReLU(0.2),
                _spectral(nn.Conv2d(cfg.hidden, cfg.hidden, 3, 1, 1)),
                nn.LeakyReLU(0.2),
                _spectral(nn.Conv2d(cfg.hidden, 1, 1)),
            )
            for _ in channels
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Scores every cell."""
        scores = []
        for x, mix, judge in zip(maps, self.mixing, self.judges, strict=True):
            unit = x.float() * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6)
            scores.append(judge(mix(unit)).flatten(1))
        return torch.cat(scores, 1)


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim 2017, arXiv 1705.02894)."""
    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()


def _spectral(conv: nn.Conv2d) -> nn.Module:
    module: nn.Module = nn.utils.parametrizations.spectral_norm(conv)
    return module
