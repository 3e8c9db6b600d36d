"""The face embedder: aligned face to a unit vector whose cosine says how alike two people look.

A small residual network that ends, as MobileFaceNet does (Chen 2018, arXiv 1804.07573, section
3.3), in a depthwise convolution over the whole map instead of a mean: where a feature lies matters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.convolution import ConvNorm, Residual, read_weights, single

WIDTH = contract.EMBEDDER.outputs[0].shape[1] or 128
LAST_SIDE = contract.EMBEDDER_SIZE // 16


@dataclass(frozen=True)
class EmbedderConfig:
    """Channels at 56, 28, 14, 7 px and of the last map; ``norm`` is on while training only."""

    widths: tuple[int, ...] = (32, 64, 112, 160)
    last: int = 256
    norm: bool = False

    def __post_init__(self) -> None:
        """Refuse anything but four scales."""
        if len(self.widths) != 4 or min(*self.widths, self.last) < 1:
            raise ValueError(f"widths must be four positive channel counts, got {self.widths}")

    @classmethod
    def tiny(cls) -> "EmbedderConfig":
        """The smallest widths, for tests."""
        return cls((8, 8, 8, 8), 16)


class Embedder(nn.Module):
    """ArcFace crop [n, 3, 112, 112] in [-1, 1] -> embedding [n, 128] of unit length."""

    def __init__(self, config: EmbedderConfig | None = None) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = cfg = config or EmbedderConfig()
        (a, b, c, d), norm = cfg.widths, cfg.norm
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    ConvNorm(3, a, 3, 2, norm=norm), Residual(a, norm=norm),
                    ConvNorm(a, b, 3, 2, norm=norm), Residual(b, norm=norm), Residual(b, norm=norm),
                ),  # 28 px
                nn.Sequential(
                    ConvNorm(b, c, 3, 2, norm=norm), Residual(c, norm=norm), Residual(c, norm=norm)
                ),  # 14 px
                nn.Sequential(
                    ConvNorm(c, d, 3, 2, norm=norm), Residual(d, d // 2, norm=norm),
                    ConvNorm(d, cfg.last, 1, norm=norm),
                ),  # 7 px
            ]
        )  # fmt: skip
        self.place = ConvNorm(
            cfg.last, cfg.last, LAST_SIDE, norm=norm, linear=True, groups=cfg.last, padding=0
        )
        self.out = nn.Linear(cfg.last, WIDTH)

    def maps(self, face: Tensor) -> list[Tensor]:
        """Feature maps at 28, 14 and 7 px, for the distillation of inner features."""
        found = []
        x = face
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def embed(self, last: Tensor) -> Tensor:
        """The last of ``maps`` to the unit vector."""
        x = single(self.out(self.place(last).flatten(1)))
        return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-12)

    def forward(self, face: Tensor) -> Tensor:
        """[n, 3, 112, 112] -> [n, 128] of unit length."""
        return self.embed(self.maps(face)[-1])


def load(path: Path) -> Embedder:
    """Read an embedder from safetensors, strictly; the header holds its configuration."""
    raw, tensors = read_weights(path)
    config: dict[str, Any] = dict(raw)
    model = Embedder(EmbedderConfig(**{**config, "widths": tuple(config["widths"])}))
    model.load_state_dict(tensors, strict=True)
    return model.eval()
