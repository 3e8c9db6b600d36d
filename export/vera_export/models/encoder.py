"""The encoder: an aligned crop and its part map to latents, the start of the inversion.

Texture codes are features averaged over each part, so they follow the part wherever it is; coarse,
shape and high-level codes are read from the whole crop.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.layers import Conv, activate, mean_pool


@dataclass(frozen=True)
class EncoderConfig:
    """Widths of the encoder."""

    low: int = 48
    middle: int = 96
    high: int = 128

    @classmethod
    def tiny(cls) -> "EncoderConfig":
        """The smallest widths, for tests."""
        return cls(8, 8, 8)


class _Down(nn.Module):
    """3x3 convolution of stride 2, then the activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.conv(x))


class Encoder(nn.Module):
    """Crop [n, 3, 256, 256] and one-hot labels [n, 13, 128, 128] -> latents [n, 32, 64]."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.config = cfg = config or EncoderConfig()
        k, d = contract.CLASS_COUNT, contract.LATENT_WIDTH
        self.stem = nn.Sequential(_Down(12 + k, 40), Conv(40, cfg.low))  # 64 px
        self.low = nn.Sequential(_Down(cfg.low, 64), Conv(64, cfg.middle))  # 32 px
        self.high = nn.Sequential(
            _Down(cfg.middle, cfg.high),
            Conv(cfg.high, cfg.high),
            _Down(cfg.high, cfg.high),
            Conv(cfg.high, cfg.high),
        )  # 8 px
        flat = cfg.high * 16
        self.whole = nn.Linear(flat, (2 + k + len(contract.HIGH_LEVEL)) * d)
        self.texture = nn.Parameter(
            torch.randn(k, cfg.low + cfg.middle, d) / math.sqrt(cfg.low + cfg.middle)
        )
        self.absent = nn.Parameter(torch.zeros(k, d))

    def forward(self, crop: Tensor, labels: Tensor) -> Tensor:
        """Encodes a batch."""
        k, d, n = contract.CLASS_COUNT, contract.LATENT_WIDTH, crop.shape[0]
        x = torch.cat([nn.functional.pixel_unshuffle(crop, 2), labels * 2 - 1], 1)
        fine = self.stem(x)
        coarse = self.low(fine)
        pooled = torch.cat(
            [_part_mean(fine, mean_pool(labels, 2)), _part_mean(coarse, mean_pool(labels, 4))], 2
        )
        present = (labels.mean((2, 3)) > 1e-4).to(crop.dtype)[..., None]
        texture = torch.matmul(pooled[:, :, None], self.texture)[:, :, 0]
        texture = texture * present + self.absent * (1 - present)
        whole = self.whole(mean_pool(self.high(coarse)).flatten(1)).reshape(n, -1, d)
        shape = whole[:, 2 : 2 + k]
        parts = torch.stack([shape, texture], 2).reshape(n, 2 * k, d)
        return torch.cat([whole[:, :2], parts, whole[:, 2 + k :]], 1)

    @classmethod
    def load(cls, path: Path, config: EncoderConfig | None = None) -> "Encoder":
        """Reads a safetensors file strictly."""
        from safetensors.torch import load_file

        model = cls(config)
        model.load_state_dict(load_file(path))
        return model.eval()


def _part_mean(features: Tensor, masks: Tensor) -> Tensor:
    """Mean of features [n, c, h, w] over each part of masks [n, k, h, w]: [n, k, c]."""
    total = torch.matmul(masks.flatten(2), features.flatten(2).transpose(1, 2))
    return total / (masks.sum((2, 3))[..., None] + 1e-2)
