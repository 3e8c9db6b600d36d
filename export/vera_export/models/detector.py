"""The face detector: an anchor-free network with one stride-8 output map.

Heatmap training and centre-based regression follow CenterNet (Zhou et al., "Objects as Points",
arXiv 1904.07850); the five points beside the box follow RetinaFace (arXiv 1905.00641).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera_export.models.convolution import ConvNorm, Residual, read_weights

STRIDE = 8  # input pixels per output cell
POINTS = 5
CHANNELS = 1 + 4 + 2 * POINTS  # score logit, box, points

# Bounds of log(side / STRIDE): 4 px to 6000 px. Without them an untrained cell overflows exp.
_LOG_SIDE = (-0.7, 6.6)


@dataclass(frozen=True)
class DetectorConfig:
    """Channels at strides 2, 4, 8, 16 and 32, and of the merged map and the head.

    ``norm`` is on while training only.
    """

    widths: tuple[int, ...] = (16, 24, 48, 64, 96)
    neck: int = 48
    norm: bool = False

    def __post_init__(self) -> None:
        """Refuse anything but five scales."""
        if len(self.widths) != 5 or min(*self.widths, self.neck) < 1:
            raise ValueError(f"widths must be five positive channel counts, got {self.widths}")

    @classmethod
    def tiny(cls) -> "DetectorConfig":
        """The smallest widths, for tests."""
        return cls((4, 6, 8, 8, 8), 8)


class Detector(nn.Module):
    """Finds faces at one scale, from 16 px up to about three quarters of the input's height.

    Faces of all sizes share the stride-8 map: what a large face needs to know of its surroundings
    comes down from stride 32, where dilated convolutions see more than 256 px.
    """

    def __init__(self, config: DetectorConfig | None = None) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = cfg = config or DetectorConfig()
        (w2, w4, w8, w16, w32), neck, norm = cfg.widths, cfg.neck, cfg.norm
        self.stage4 = nn.Sequential(
            ConvNorm(3, w2, 3, 2, norm=norm),
            ConvNorm(w2, w4, 3, 2, norm=norm),
            ConvNorm(w4, w4, norm=norm),
        )
        self.stage8 = nn.Sequential(ConvNorm(w4, w8, 3, 2, norm=norm), Residual(w8, norm=norm))
        self.stage16 = nn.Sequential(ConvNorm(w8, w16, 3, 2, norm=norm), Residual(w16, norm=norm))
        self.stage32 = nn.Sequential(
            ConvNorm(w16, w32, 3, 2, norm=norm),
            Residual(w32, norm=norm),
            _widened(Residual(w32, norm=norm)),
        )
        self.lateral32 = nn.Conv2d(w32, neck, 1)
        self.lateral16 = nn.Conv2d(w16, neck, 1)
        self.lateral8 = nn.Conv2d(w8, neck, 1)
        self.merge16 = ConvNorm(neck, neck, norm=norm)
        self.merge8 = ConvNorm(neck, neck, norm=norm)
        self.head = ConvNorm(neck, neck, norm=norm)
        self.answer = nn.Conv2d(neck, CHANNELS, 1)
        nn.init.normal_(self.answer.weight, std=0.01)
        with torch.no_grad():
            # Start at probability 0.01 (RetinaNet, arXiv 1708.02002), and e^1.5 cells wide.
            start = torch.tensor([-4.6, 0, 0, 1.5, 1.5, *([0.0] * (2 * POINTS))])
            cast(Tensor, self.answer.bias).copy_(start)

    def raw(self, photo: Tensor) -> Tensor:
        """Undecoded map: what the training losses are written on.

        Args:
            photo: [n, 3, h, w] RGB in [-1, 1]; h and w multiples of 32.

        Returns:
            [n, 15, h/8, w/8]: score logit; box centre minus cell centre, divided by the box's
            sides (2); log of the sides in cells (2); points minus cell centre, divided by the
            box's sides (10).
        """
        c8 = self.stage8(self.stage4(photo))
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        above = functional.interpolate(self.lateral32(c32), scale_factor=2.0, mode="nearest")
        p16 = self.merge16(self.lateral16(c16) + above)
        above = functional.interpolate(p16, scale_factor=2.0, mode="nearest")
        out: Tensor = self.answer(self.head(self.merge8(self.lateral8(c8) + above)))
        return out

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded candidates, one per cell, row by row.

        Args:
            photo: [n, 3, h, w] RGB in [-1, 1]; h and w multiples of 32.

        Returns:
            ``scores`` [n, m] in [0, 1], ``boxes`` [n, m, 4] x1 y1 x2 y2 and ``points``
            [n, m, 5, 2] x y in pixels of the input, m = (h/8) * (w/8).
        """
        return decode(self.raw(photo))


def _widened(block: Residual) -> Residual:
    """The same block with its second convolution dilated: a wider view at no cost."""
    block.second.conv.dilation = (2, 2)
    block.second.conv.padding = (2, 2)
    return block


def cell_centres(rows: int, columns: int, like: Tensor) -> Tensor:
    """Centres of the cells in input pixels, [rows, columns, 2] x y.

    Pixel centres are at integers, so the first cell, pixels 0 to 7, is centred at 3.5.
    """
    y = torch.arange(rows, dtype=like.dtype, device=like.device) * STRIDE + (STRIDE - 1) / 2
    x = torch.arange(columns, dtype=like.dtype, device=like.device) * STRIDE + (STRIDE - 1) / 2
    return torch.stack((x[None, :].expand(rows, columns), y[:, None].expand(rows, columns)), -1)


def decode(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn ``Detector.raw`` [n, 15, h, w] into scores, boxes and points (see ``forward``)."""
    n = raw.shape[0]
    cells = cell_centres(raw.shape[2], raw.shape[3], raw).reshape(1, -1, 2)
    values = raw.permute(0, 2, 3, 1).reshape(n, -1, CHANNELS)  # [n, m, 15]
    scores = torch.sigmoid(values[..., 0])
    sides = torch.exp(values[..., 3:5].clamp(*_LOG_SIDE)) * STRIDE
    centre = cells + values[..., 1:3] * sides
    boxes = torch.cat((centre - sides / 2, centre + sides / 2), -1)
    shift = values[..., 5:].reshape(n, -1, POINTS, 2)
    points = cells.unsqueeze(2) + shift * sides.unsqueeze(2)
    return scores, boxes, points


def load(path: Path) -> Detector:
    """Read a detector from safetensors, strictly; the header holds its configuration."""
    raw, tensors = read_weights(path)
    config: dict[str, Any] = dict(raw)
    model = Detector(DetectorConfig(**{**config, "widths": tuple(config["widths"])}))
    model.load_state_dict(tensors, strict=True)
    return model.eval()
