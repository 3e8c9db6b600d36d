"""The refiner: repairs the composed crop where it was generated, and doubles its resolution.

A face prior in the sense of GFP-GAN (Wang 2021, arXiv 2101.04061), but small: a U-Net (Ronneberger
2015, arXiv 1505.04597) over space-to-depth pixels that adds a residual to the bilinear enlargement.
The residual is multiplied by the enlarged mask, so the photograph's part of the crop cannot change.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera_export.models.convolution import ConvNorm, Residual, read_weights
from vera_export.models.discriminator import EqualConv, Tower
from vera_export.models.layers import activate


@dataclass(frozen=True)
class RefinerConfig:
    """Channels at a half, a quarter and an eighth of the crop, at its own side, and at twice it."""

    widths: tuple[int, ...] = (56, 80, 120)
    fine: int = 24
    double: int = 12

    def __post_init__(self) -> None:
        """Refuse less than two scales."""
        if len(self.widths) < 2 or min(*self.widths, self.fine, self.double) < 1:
            raise ValueError(f"widths must be two or more channel counts, got {self.widths}")

    @classmethod
    def tiny(cls) -> "RefinerConfig":
        """The smallest widths, for tests."""
        return cls((8, 8), 4, 4)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear")


class _Up(nn.Module):
    """Coarse map enlarged by two, added to the fine one, then one convolution."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.lateral = ConvNorm(coarse, fine, 1, linear=True)
        self.merge = ConvNorm(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        merged: Tensor = self.merge(_doubled(self.lateral(coarse)) + fine)
        return merged


class Refiner(nn.Module):
    """Composed crop and mask to the repaired crop at twice the side; sides are multiples of 8.

    Pixels are gathered into channels on the way in only. On the way out everything is enlarged
    bilinearly: with depth to space, even with a convolution over pixels behind it, the adversarial
    loss made the network draw skin as a regular grid of dots.
    """

    def __init__(self, config: RefinerConfig | None = None) -> None:
        """Build the network; the last layer is zero, so it starts as the plain enlargement."""
        super().__init__()
        self.config = cfg = config or RefinerConfig()
        w = cfg.widths
        self.down = nn.ModuleList([nn.Sequential(ConvNorm(16, w[0]), Residual(w[0]))])
        for i, o in pairwise(w):
            blocks = [Residual(o)] if o != w[-1] else [Residual(o), Residual(o)]
            self.down.append(nn.Sequential(ConvNorm(i, o, 3, 2), *blocks))
        self.up = nn.ModuleList(_Up(i, o) for i, o in zip(w[:0:-1], w[-2::-1], strict=True))
        self.to_fine = ConvNorm(w[0], cfg.fine, linear=True)
        self.entry = ConvNorm(4, cfg.fine, linear=True)
        self.at_fine = ConvNorm(cfg.fine, cfg.fine)
        self.to_double = ConvNorm(cfg.fine, cfg.double)
        self.at_double = ConvNorm(cfg.double, cfg.double)
        self.last = nn.Conv2d(cfg.double, 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))
        for module in self.modules():
            if isinstance(module, Residual):
                with torch.no_grad():
                    module.second.conv.weight.mul_(0.2)  # start near the identity
        for layer in (self.at_fine, self.at_double):
            nn.init.dirac_(layer.conv.weight)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Repairs a composed crop.

        Args:
            image: [n, 3, s, s] RGB in [-1, 1]: generated face in the photograph's surroundings.
            mask: [n, 1, s, s] in [0, 1]; 1: generated, may change; 0: photograph, stays.

        Returns:
            [n, 3, 2s, 2s], about [-1, 1]; the bilinear enlargement of ``image`` where the enlarged
            mask is 0.
        """
        crop = torch.cat([image, mask], 1)
        x = functional.pixel_unshuffle(crop, 2)
        maps = []
        for stage in self.down:
            x = stage(x)
            maps.append(x)
        for up, fine in zip(self.up, maps[-2::-1], strict=True):
            x = up(x, fine)
        x = self.at_fine(torch.relu(_doubled(self.to_fine(x)) + self.entry(crop)))
        residual = self.last(self.at_double(_doubled(self.to_double(x))))
        enlarged = _doubled(crop)
        repaired: Tensor = enlarged[:, :3] + enlarged[:, 3:] * residual
        return repaired


class PatchCritic(nn.Module):
    """Scores of patches of a picture, one per 16 x 16 px (Isola 2017, arXiv 1611.07004).

    Used in training only.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 48, 64)) -> None:
        """``widths``: channels at each side, halved from one to the next."""
        super().__init__()
        self.tower = Tower(12, widths)
        self.hidden = EqualConv(widths[-1], widths[-1], 3)
        self.score = EqualConv(widths[-1], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Picture [n, 3, s, s] in [-1, 1] -> float32 scores [n, patches]; high: photograph."""
        features = self.tower(functional.pixel_unshuffle(image, 2))
        scores: Tensor = self.score(activate(self.hidden(features)))
        return scores.flatten(1).float()


def load(path: Path) -> Refiner:
    """Read a refiner from safetensors, strictly; the header holds its configuration."""
    raw, tensors = read_weights(path)
    config: dict[str, Any] = dict(raw)
    model = Refiner(RefinerConfig(**{**config, "widths": tuple(config["widths"])}))
    model.load_state_dict(tensors, strict=True)
    return model.eval()
