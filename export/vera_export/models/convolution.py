"""Convolution with a foldable batch norm, shared by the parser, the embedder and the attributes.

Networks train with batch norm and are stored without: :func:`fold` puts the norm's scale and shift
into the convolution, which is exact for inference, so that exported graphs hold convolutions only.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Module):
    """Convolution, batch norm while training, ReLU unless ``linear``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        stride: int = 1,
        *,
        norm: bool = False,
        linear: bool = False,
        groups: int = 1,
        padding: int | None = None,
    ) -> None:
        """Channels in and out, kernel size and stride; ``padding`` keeps the size unless given."""
        super().__init__()
        pad = (size - 1) // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, size, stride, pad, groups=groups, bias=not norm)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.norm = nn.BatchNorm2d(outputs) if norm else None
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h / stride, w / stride]."""
        y: Tensor = self.conv(x)
        if self.norm is not None:
            y = self.norm(y)
        return y if self.linear else torch.relu(y)


class Residual(nn.Module):
    """Two convolutions and a skip: ``relu(x + conv(relu(conv(x))))`` (arXiv 1512.03385)."""

    def __init__(self, channels: int, inner: int | None = None, *, norm: bool = False) -> None:
        """``inner`` channels between the two convolutions, ``channels`` unless given."""
        super().__init__()
        middle = inner or channels
        self.first = ConvNorm(channels, middle, norm=norm)
        self.second = ConvNorm(middle, channels, norm=norm, linear=True)
        if self.second.norm is not None:
            nn.init.constant_(self.second.norm.weight, 0.2)  # start near the identity

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] -> the same shape."""
        return torch.relu(x + self.second(self.first(x)))


def single(x: Tensor) -> Tensor:
    """Half precision, of a training in mixed precision, to float32; others as they are."""
    return x if x.dtype == torch.float64 else x.float()


def fold(model: nn.Module) -> nn.Module:
    """Fold every batch norm of ``model`` into its convolution, in place; puts it in eval mode."""
    model.eval()
    for module in model.modules():
        if isinstance(module, ConvNorm) and module.norm is not None:
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = None
    return model


def read_weights(path: Path) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Configuration (from the file's header) and tensors of a safetensors file of this package."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        config = json.loads((file.metadata() or {})["config"])
        return config, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
