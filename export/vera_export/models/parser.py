"""The face parser: aligned crop to logits of the 13 classes.

A U-Net (Ronneberger 2015, arXiv 1505.04597) that reads the crop once at full size and works from
half size down to a 32nd, where every cell sees the whole crop; logits return to full size by
sub-pixel convolution (arXiv 1609.05158).
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.convolution import ConvNorm, Residual, read_weights


@dataclass(frozen=True)
class ParserConfig:
    """Channels at 128, 64, 32, 16 and 8 px; ``norm`` is on while training only."""

    widths: tuple[int, ...] = (24, 40, 64, 96, 128)
    norm: bool = False

    def __post_init__(self) -> None:
        """Refuse anything but five scales."""
        if len(self.widths) != 5 or min(self.widths) < 1:
            raise ValueError(f"widths must be five positive channel counts, got {self.widths}")

    @classmethod
    def tiny(cls) -> "ParserConfig":
        """The smallest widths, for tests."""
        return cls((8, 8, 8, 8, 8))


class _Up(nn.Module):
    """Coarse map enlarged by two, added to the fine one, then one convolution."""

    def __init__(self, coarse: int, fine: int, *, norm: bool) -> None:
        super().__init__()
        self.lateral = ConvNorm(coarse, fine, 1, norm=norm, linear=True)
        self.merge = ConvNorm(fine, fine, norm=norm)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = functional.interpolate(self.lateral(coarse), scale_factor=2.0, mode="bilinear")
        merged: Tensor = self.merge(up + fine)
        return merged


class Parser(nn.Module):
    """Crop [n, 3, 256, 256] in [-1, 1] -> logits [n, 13, 256, 256] (contract.CLASSES)."""

    def __init__(self, config: ParserConfig | None = None) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = cfg = config or ParserConfig()
        w, norm = cfg.widths, cfg.norm
        stem = ConvNorm(3, w[0], 4, 2, norm=norm, padding=1)
        self.down = nn.ModuleList([nn.Sequential(stem, ConvNorm(w[0], w[0], norm=norm))])
        for i, o in pairwise(w):
            inner = o if o != w[-1] else o // 2  # most weights would be here
            self.down.append(
                nn.Sequential(ConvNorm(i, o, 3, 2, norm=norm), Residual(o, inner, norm=norm))
            )
        self.context = nn.Linear(w[-1], w[-1])
        self.up = nn.ModuleList(
            _Up(i, o, norm=norm) for i, o in zip(w[:0:-1], w[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(w[0], 4 * contract.CLASS_COUNT, 1)

    def forward(self, crop: Tensor) -> Tensor:
        """Logits of the classes at the crop's own size."""
        maps = []
        x = crop
        for stage in self.down:
            x = stage(x)
            maps.append(x)
        # What lies far apart (hair left and right, a shirt below) meets here at no cost.
        x = x + torch.relu(self.context(x.mean((2, 3))))[:, :, None, None]
        for up, fine in zip(self.up, maps[-2::-1], strict=True):
            x = up(x, fine)
        return functional.pixel_shuffle(self.head(x), 2)


def load(path: Path) -> Parser:
    """Read a parser from safetensors, strictly; the header holds its configuration."""
    raw, tensors = read_weights(path)
    config: dict[str, Any] = dict(raw)
    model = Parser(ParserConfig(**{**config, "widths": tuple(config["widths"])}))
    model.load_state_dict(tensors, strict=True)
    return model.eval()
