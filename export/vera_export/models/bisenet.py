"""BiSeNet for faces (Yu 2018, arXiv 1808.00897), as the public 19-class parsers have it.

ResNet-18 with two attention-refined scales; the spatial path is ResNet's own map at an eighth.
Batch norm is folded when a checkpoint is converted. The 19 classes of CelebAMask-HQ become the
contract's 13: a class gets the log of the sum of its members' exponentials, so that probabilities
add up.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.stored import load_stored, save_stored

ARCHITECTURE = "bisenet"

# The contract's class of each of the parser's classes, in the order of face-parsing.PyTorch (its
# prepropess_data.py): 1 skin, 2-3 brows, 4-5 eyes, 6 glasses, 7-8 ears, 9 earring, 10 nose,
# 11 mouth, 12-13 lips, 14 neck, 15 necklace, 16 cloth, 17 hair, 18 hat.
CLASS_MAP = (0, 1, 3, 3, 2, 2, 10, 6, 6, 12, 5, 4, 4, 4, 8, 8, 9, 7, 11)

_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, for RGB in [0, 1]
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BiSeNetConfig:
    """Channels of ResNet's four stages and of the heads, and the side of the crop."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    refined: int = 128
    side: int = 512

    @classmethod
    def tiny(cls) -> "BiSeNetConfig":
        """The same graph with few channels at 64 px, for tests."""
        return cls((4, 6, 8, 8), 6, 64)


class _Conv(nn.Module):
    """Convolution with its batch norm folded in, then ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return torch.relu(y)


class _Block(nn.Module):
    """Basic block of ResNet (He 2015, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        changed = inputs != outputs or stride != 1
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if changed else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(torch.relu(self.conv1(x))) + self.downsample(x)
        return torch.relu(y)


class _ResNet(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Block(i, o, 1 if n == 0 else 2), _Block(o, o, 1))
            for n, (i, o) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at an eighth, a sixteenth and a thirty-second."""
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Attention(nn.Module):
    """Attention refinement: channels weighed by what the whole map shows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate: Tensor = torch.sigmoid(self.conv_atten(x.mean((2, 3), keepdim=True)))
        return x * gate


class _Context(nn.Module):
    def __init__(self, widths: tuple[int, ...], refined: int) -> None:
        super().__init__()
        self.resnet = _ResNet(widths)
        self.arm16 = _Attention(widths[2], refined)
        self.arm32 = _Attention(widths[3], refined)
        self.conv_head32 = _Conv(refined, refined)
        self.conv_head16 = _Conv(refined, refined)
        self.conv_avg = _Conv(widths[3], refined, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ResNet's map at an eighth, and the context at the same size."""
        eighth, sixteenth, last = self.resnet(x)
        everywhere = self.conv_avg(last.mean((2, 3), keepdim=True))
        coarse = functional.interpolate(self.arm32(last) + everywhere, scale_factor=2.0)
        middle = self.arm16(sixteenth) + self.conv_head32(coarse)
        return eighth, self.conv_head16(functional.interpolate(middle, scale_factor=2.0))


class _Fusion(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblk = _Conv(inputs, outputs, 1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x: Tensor = self.convblk(torch.cat([spatial, context], 1))
        gate = torch.relu(self.conv1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.conv2(gate)) + x


class _Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _Conv(width, width)
        self.conv_out = nn.Conv2d(width, len(CLASS_MAP), 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_out(self.conv(x))
        return y


class BiSeNet(nn.Module):
    """Crop [n, 3, s, s] in [-1, 1] -> logits [n, 13, s, s] (contract.CLASSES).

    Parameters are called as in the public checkpoints; where those have a batch norm, here is a
    bias.
    """

    def __init__(self, config: BiSeNetConfig | None = None) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.config = cfg = config or BiSeNetConfig()
        self.cp = _Context(cfg.widths, cfg.refined)
        self.ffm = _Fusion(cfg.widths[1] + cfg.refined, 2 * cfg.refined)
        self.conv_out = _Head(2 * cfg.refined)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    mean: Tensor
    std: Tensor

    @property
    def layout(self) -> dict[str, Any]:
        """The fields of ``contract.Layout`` that this network settles."""
        return {"parser": self.config.side}

    def classes(self, crop: Tensor) -> Tensor:
        """The public network: crop in [-1, 1] -> logits [n, 19, s, s]."""
        x = (crop * 0.5 + 0.5 - self.mean) / self.std
        logits = self.conv_out(self.ffm(*self.cp(x)))
        side = crop.shape[-2:]
        return functional.interpolate(logits, side, mode="bilinear", align_corners=True)

    def forward(self, crop: Tensor) -> Tensor:
        """Logits of the contract's classes at the crop's own size."""
        logits = self.classes(crop)
        merged = []
        for part in range(contract.CLASS_COUNT):
            members = [i for i, k in enumerate(CLASS_MAP) if k == part]
            merged.append(torch.logsumexp(logits[:, members], 1))
        return torch.stack(merged, 1)


def save(model: BiSeNet, path: Path) -> None:
    """Writes safetensors whose header holds architecture and configuration."""
    save_stored(model, model.config, ARCHITECTURE, path)


def load(path: Path) -> BiSeNet:
    """Reads a parser from safetensors, strictly; the header holds its configuration."""
    return load_stored(path, lambda **fields: BiSeNet(BiSeNetConfig(**fields)))
