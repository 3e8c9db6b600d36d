"""LPIPS v0.1 (torchvision's VGG16 and the linear heads) as VerA's perceptual network."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vera.errors import UsageError
from vera_export.convert.checkpoint import check_keys, read_pickle, tensors_of, write_record
from vera_export.models import vgg
from vera_export.models.vgg import Vgg, VggConfig


def convert_perceptual(source: Path, linear: Path, out: Path) -> dict[str, Any]:
    """Writes ``out/perceptual.safetensors`` and its record.

    Args:
        source: torchvision's ``vgg16`` state dict; its classifier may be there.
        linear: LPIPS' ``weights/v0.1/vgg.pth``, the heads ``lin0`` to ``lin4``.
        out: Folder of weights.

    Returns:
        The record: sources and licence.

    Raises:
        UsageError: A file is not what it should be.
    """
    features = tensors_of(read_pickle(source), source)
    heads = tensors_of(read_pickle(linear), linear)
    model = perceptual_from(features, heads, VggConfig())
    out.mkdir(parents=True, exist_ok=True)
    vgg.save(model, out / "perceptual.safetensors")
    return write_record(
        out,
        "perceptual",
        [source, linear],
        licence="BSD (torchvision's VGG16: BSD-3-Clause; LPIPS: BSD-2-Clause)",
    )


def perceptual_from(
    features: Mapping[str, Tensor], heads: Mapping[str, Tensor], config: VggConfig
) -> Vgg:
    """The network from the two state dicts.

    Raises:
        UsageError: Keys or shapes are not those of the public files, or a weight is negative.
    """
    model = Vgg(config)
    names = feature_names(config)
    convolutions = [m for m in chain.from_iterable(_blocks(model)) if isinstance(m, nn.Conv2d)]
    wanted: dict[str, tuple[int, ...]] = {}
    for name, conv in zip(names, convolutions, strict=True):
        wanted[f"{name}.weight"] = tuple(conv.weight.shape)
        wanted[f"{name}.bias"] = (conv.out_channels,)
    check_keys("torchvision's VGG16", features, wanted, ["classifier."])
    linear = [f"lin{i}.model.1.weight" for i in range(len(config.widths))]
    shapes = {name: (1, c, 1, 1) for name, c in zip(linear, config.widths, strict=True)}
    check_keys("the linear heads of LPIPS v0.1", heads, shapes)
    if any(bool((heads[name] < 0).any()) for name in linear):
        raise UsageError(
            "The linear heads of LPIPS must not be negative, got some below 0; take the v0.1 file."
        )
    with torch.no_grad():
        for name, conv in zip(names, convolutions, strict=True):
            assert conv.bias is not None
            conv.weight.copy_(features[f"{name}.weight"])
            conv.bias.copy_(features[f"{name}.bias"])
        for name, parameter in zip(linear, model.lin, strict=True):
            parameter.copy_(heads[name].flatten())
    return model.eval()


def feature_names(config: VggConfig) -> list[str]:
    """``features.<i>`` of each convolution in torchvision's sequence of layers."""
    names, place = [], 0
    for depth in config.depths:
        for _ in range(depth):
            names.append(f"features.{place}")
            place += 2  # the convolution and its ReLU
        place += 1  # the pooling
    return names


def _blocks(model: Vgg) -> list[nn.ModuleList]:
    return [block for block in model.blocks if isinstance(block, nn.ModuleList)]
