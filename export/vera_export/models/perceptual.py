"""The perceptual network of the inversion loss: four feature maps of a crop, and what each counts.

Only stride-1 convolutions and mean pooling by reshape, so that its gradient is plain convolutions.
The distance is that of LPIPS (Zhang 2018, arXiv 1801.03924, eq. 1) over this network's own maps;
it is not LPIPS, and its values must not be quoted as such.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.convolution import read_weights
from vera_export.models.layers import mean_pool

SIDE = contract.CROP_SIZE // 2  # of the picture that the first map is computed from
EPS = 1e-10  # added to the squared length of a feature vector


@dataclass(frozen=True)
class PerceptualConfig:
    """Channels of the taps, and of the convolution before each tap."""

    taps: tuple[int, ...] = tuple(channels for channels, _ in contract.PERCEPTUAL_TAPS)
    inner: tuple[int, ...] = (16, 48, 96, 128)

    def __post_init__(self) -> None:
        """Refuse stages that do not pair up."""
        if len(self.taps) != len(self.inner) or min(*self.taps, *self.inner) < 1:
            raise ValueError(f"taps and inner must be equally many positive widths, got {self}")

    @classmethod
    def tiny(cls) -> "PerceptualConfig":
        """Smallest inner widths, for tests; the taps are the contract's."""
        return cls(inner=(4, 4, 4, 4))


class Perceptual(nn.Module):
    """Crop [n, 3, 256, 256] in [-1, 1] -> maps at 128, 64, 32, 16 px (contract.PERCEPTUAL_TAPS)."""

    def __init__(self, config: PerceptualConfig | None = None) -> None:
        """Build the network with random weights and unit feature weights."""
        super().__init__()
        self.config = cfg = config or PerceptualConfig()
        widths = (3, *cfg.taps)
        self.first = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in zip(widths, cfg.inner, strict=False)
        )
        self.second = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in zip(cfg.inner, cfg.taps, strict=True)
        )
        self.lin = nn.ParameterList(nn.Parameter(torch.ones(c)) for c in cfg.taps)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of an image [n, 3, h, w] that is already at half the crop's size."""
        # Equal values; pooling by reshape is for export, and several times slower in training.
        pool = nn.AvgPool2d(2) if self.training else mean_pool
        taps: list[Tensor] = []
        x = image
        for first, second in zip(self.first, self.second, strict=True):
            x = torch.relu(second(torch.relu(first(pool(x) if taps else x))))
            taps.append(x)
        return tuple(taps)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """[n, 3, s, s] in [-1, 1], s a multiple of 128 -> four maps, see the class."""
        return self.features(mean_pool(image, image.shape[-1] // SIDE))

    def feature_weights(self) -> list[list[float]]:
        """The non-negative weight of every channel, tap by tap, for the bundle's manifest."""
        return [[float(w) for w in lin] for lin in self.lin]


def normalise(taps: Sequence[Tensor]) -> list[Tensor]:
    """Every feature vector of maps [n, c, h, w] divided by its length."""
    # The floor under the root keeps the gradient finite where every channel is zero.
    return [x * torch.rsqrt(x.square().sum(1, keepdim=True) + EPS) for x in taps]


def distance_maps(
    a: Sequence[Tensor],  # each [n, c, h, w], results of ``normalise``
    b: Sequence[Tensor],
    weights: Sequence[Tensor],  # each [c]
) -> list[Tensor]:
    """Weighted squared difference of channel-normalised features per tap: each [n, h, w]."""
    return [
        functional.conv2d((x - y).square(), w[None, :, None, None])[:, 0]
        for x, y, w in zip(a, b, weights, strict=True)
    ]


def distance(a: Sequence[Tensor], b: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Perceptual distance of two sets of features, [n]: mean over space, sum over taps."""
    maps = distance_maps(normalise(a), normalise(b), weights)
    return torch.stack([m.mean((1, 2)) for m in maps]).sum(0)


def load(path: Path) -> Perceptual:
    """Read a perceptual network from safetensors, strictly; the header holds its configuration."""
    raw, tensors = read_weights(path)
    config: dict[str, Any] = {k: tuple(v) for k, v in raw.items()}  # type: ignore[arg-type]
    model = Perceptual(PerceptualConfig(**config))
    model.load_state_dict(tensors, strict=True)
    return model.eval()
