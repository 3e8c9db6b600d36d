"""Attributes and five points of a roughly aligned face, in one pass.

Points come from heatmaps by soft-argmax (integral regression, Sun 2018, arXiv 1711.08229), which
keeps fractions of a pixel and consists of a softmax and a matrix product; the rest is read from the
mean of the coarsest map and from the finest map at the five points.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.convolution import ConvNorm, Residual, read_weights, single

POINTS = 5
STRIDE = 4  # input pixels per heatmap cell
CELLS = contract.ATTRIBUTES_SIZE // STRIDE
COUNTS = (3, len(contract.EXPRESSIONS), 1, 1, 1)  # pose, expression, mouth_open, age, female
_DEGREES = 20.0  # the heads work on values of about unit size
_YEARS, _MEAN_AGE = 12.0, 35.0


@dataclass(frozen=True)
class AttributesConfig:
    """Channels at 64, 32, 16 and 8 px; ``norm`` is on while training only."""

    widths: tuple[int, ...] = (20, 40, 72, 112)
    norm: bool = False

    def __post_init__(self) -> None:
        """Refuse anything but four scales."""
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise ValueError(f"widths must be four positive channel counts, got {self.widths}")

    @classmethod
    def tiny(cls) -> "AttributesConfig":
        """The smallest widths, for tests."""
        return cls((8, 8, 8, 8))


class Attributes(nn.Module):
    """Face [n, 3, 128, 128] in [-1, 1] -> the six outputs of contract.ATTRIBUTES."""

    grid: Tensor

    def __init__(self, config: AttributesConfig | None = None) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = cfg = config or AttributesConfig()
        (a, b, c, d), norm = cfg.widths, cfg.norm
        self.fine = nn.Sequential(
            ConvNorm(3, a, 4, 2, norm=norm, padding=1), ConvNorm(a, b, 3, 2, norm=norm),
            Residual(b, norm=norm),
        )  # 32 px  # fmt: skip
        self.middle = nn.Sequential(ConvNorm(b, c, 3, 2, norm=norm), Residual(c, norm=norm))
        self.coarse = nn.Sequential(
            ConvNorm(c, d, 3, 2, norm=norm),
            Residual(d, d // 2, norm=norm),
            Residual(d, d // 2, norm=norm),
        )  # 8 px
        self.lateral = nn.ModuleList(
            [
                ConvNorm(d, c, 1, norm=norm, linear=True),
                ConvNorm(c, b, 1, norm=norm, linear=True),
            ]
        )
        self.merge = nn.ModuleList([ConvNorm(c, c, norm=norm), ConvNorm(b, b, norm=norm)])
        self.heat = nn.Conv2d(b, POINTS, 3, padding=1)
        self.hidden = nn.Linear(d + POINTS * b, d)
        self.heads = nn.Linear(d, sum(COUNTS))
        cells = torch.arange(CELLS, dtype=torch.float32) * STRIDE + (STRIDE - 1) / 2
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], -1).reshape(-1, 2), persistent=False)

    def described(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmap logits [n, 5, 1024] and the features [n, d] that all attributes are read from."""
        fine = self.fine(face)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        x = coarse
        for lateral, merge, skip in zip(self.lateral, self.merge, (middle, fine), strict=True):
            x = merge(functional.interpolate(lateral(x), scale_factor=2.0, mode="nearest") + skip)
        heat = single(self.heat(x)).flatten(2)
        # What the map shows at each point: an expression is read at the mouth, wherever that is.
        looked_at = torch.softmax(heat.detach(), 2) @ single(x).flatten(2).transpose(1, 2)
        seen = torch.cat([single(coarse).mean((2, 3)), looked_at.flatten(1)], 1)
        return heat, torch.relu(self.hidden(seen))

    def raw(self, face: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Heatmap logits [n, 5, 1024] and the head's values per attribute, before any range.

        The values are pose / 20 degrees, expression logits, mouth opening, (age - 35) / 12 and the
        logit of the female score.
        """
        heat, features = self.described(face)
        return heat, single(self.heads(features)).split(COUNTS, 1)

    def points(self, heat: Tensor) -> Tensor:
        """Heatmap logits [n, 5, 1024] to points [n, 5, 2] x y in input pixels."""
        return torch.softmax(heat, 2) @ self.grid

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """pose, expression, mouth_open, age, female, points: see contract.ATTRIBUTES."""
        heat, values = self.raw(face)
        return *ranged(values), self.points(heat)


def ranged(values: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The head's values, see ``Attributes.raw``, in the units of the contract."""
    pose, expression, mouth, age, female = values
    return (
        pose * _DEGREES,
        torch.softmax(expression, 1),
        mouth,
        age * _YEARS + _MEAN_AGE,
        torch.sigmoid(female),
    )


def scaled_targets(pose: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
    """Pose in degrees and age in years in the units of ``Attributes.raw``."""
    return pose / _DEGREES, (age - _MEAN_AGE) / _YEARS


def load(path: Path) -> Attributes:
    """Read an attribute network from safetensors, strictly; the header holds its configuration."""
    raw, tensors = read_weights(path)
    config: dict[str, Any] = dict(raw)
    model = Attributes(AttributesConfig(**{**config, "widths": tuple(config["widths"])}))
    model.load_state_dict(tensors, strict=True)
    return model.eval()
