"""LPIPS (Zhang 2018, arXiv 1801.03924) as a perceptual network: VGG16 and what each channel counts.

The five taps of LPIPS v0.1 behind relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of torchvision's
VGG16 (Simonyan 2015, arXiv 1409.1556), computed from the picture pooled to 256 px as in
SemanticStyleGAN's inversion; the linear heads are the feature weights of the bundle.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.layers import mean_pool
from vera_export.models.stored import load_stored, save_stored

ARCHITECTURE = "lpips-vgg16"

# LPIPS' scaling layer, for RGB in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class VggConfig:
    """Channels of each block, how many convolutions it has, and the side of the pooled picture."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    side: int = contract.CROP_SIZE

    @classmethod
    def tiny(cls) -> "VggConfig":
        """The same graph with few channels at 64 px, for tests."""
        return cls((4, 6, 8, 8, 8), side=64)


class Vgg(nn.Module):
    """Crop [n, 3, s, s] in [-1, 1], s a multiple of ``side`` -> five feature maps."""

    shift: Tensor
    scale: Tensor

    def __init__(self, config: VggConfig | None = None) -> None:
        """Builds the network with random weights and unit feature weights."""
        super().__init__()
        self.config = cfg = config or VggConfig()
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)
        self.blocks = nn.ModuleList()
        inputs = 3
        for width, depth in zip(cfg.widths, cfg.depths, strict=True):
            sizes = [inputs, *[width] * depth]
            self.blocks.append(
                nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(sizes))
            )
            inputs = width
        self.lin = nn.ParameterList(nn.Parameter(torch.ones(c)) for c in cfg.widths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    @property
    def layout(self) -> dict[str, Any]:
        """The fields of ``contract.Layout`` that this network settles."""
        side = self.config.side
        taps = tuple((c, side >> i) for i, c in enumerate(self.config.widths))
        return {"perceptual_taps": taps}

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """[n, 3, s, s] in [-1, 1] -> maps at 256, 128, 64, 32 and 16 px."""
        x = mean_pool(image, image.shape[-1] // self.config.side)
        x = (x - self.shift) / self.scale
        taps: list[Tensor] = []
        for block in self.blocks:
            assert isinstance(block, nn.ModuleList)
            if taps:
                x = nn.functional.max_pool2d(x, 2)
            for conv in block:
                x = torch.relu(conv(x))
            taps.append(x)
        return tuple(taps)

    def feature_weights(self) -> list[list[float]]:
        """The non-negative weight of every channel, tap by tap, for the bundle's manifest."""
        return [lin.detach().tolist() for lin in self.lin]


def save(model: Vgg, path: Path) -> None:
    """Writes safetensors whose header holds architecture and configuration."""
    save_stored(model, model.config, ARCHITECTURE, path)


def load(path: Path) -> Vgg:
    """Reads a network from safetensors, strictly; the header holds its configuration."""
    return load_stored(path, lambda **fields: Vgg(VggConfig(**fields)))
