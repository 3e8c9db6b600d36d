"""A public 19-class BiSeNet parser (face-parsing.PyTorch's layout) as VerA's parser."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera_export.convert.checkpoint import check_keys, read_pickle, tensors_of, write_record
from vera_export.models import bisenet
from vera_export.models.bisenet import BiSeNet, BiSeNetConfig

_WHAT = "a 19-class BiSeNet parser"
_AUXILIARY = ("conv_out16.", "conv_out32.")  # heads that only training needs
_NORM = ("weight", "bias", "running_mean", "running_var")
_EPS = 1e-5  # torch's default, which these networks use


def convert_parser(source: Path, out: Path, size: int = 512) -> dict[str, Any]:
    """Writes ``out/parser.safetensors`` and its record.

    Args:
        source: State dict of the public network, as downloaded.
        out: Folder of weights.
        size: Side of the crop it will see; it was trained at 512.

    Returns:
        The record: source and licence.

    Raises:
        UsageError: The file is no such state dict.
    """
    model = parser_from(tensors_of(read_pickle(source), source), BiSeNetConfig(side=size))
    out.mkdir(parents=True, exist_ok=True)
    bisenet.save(model, out / "parser.safetensors")
    return write_record(
        out,
        "parser",
        [source],
        licence="that of the checkpoint (face-parsing.PyTorch: MIT; CelebAMask-HQ, which it was "
        "trained on: non-commercial research)",
        size_px=size,
    )


def parser_from(state: Mapping[str, Tensor], config: BiSeNetConfig) -> BiSeNet:
    """The parser with its batch norms folded.

    Raises:
        UsageError: Keys or shapes are not those of the public network.
    """
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    plain = {k: v for k, v in plain.items() if not k.endswith("num_batches_tracked")}
    model = BiSeNet(config)
    check_keys(_WHAT, plain, key_shapes(model), _AUXILIARY)
    folded: dict[str, Tensor] = {}
    for key in model.state_dict():
        name, kind = key.rsplit(".", 1)
        if kind != "weight":
            continue
        weight = plain[key].double()
        norm = norm_of(name)
        if f"{norm}.weight" in plain:
            gain, shift, mean, variance = (plain[f"{norm}.{n}"].double() for n in _NORM)
            gain = gain * torch.rsqrt(variance + _EPS)
            weight = weight * gain[:, None, None, None]
            folded[f"{name}.bias"] = (shift - mean * gain).float()
        folded[key] = weight.float()
    model.load_state_dict(folded, strict=True)
    return model.eval()


def key_shapes(model: BiSeNet) -> dict[str, tuple[int, ...]]:
    """Every key of the public network with its shape, but for its auxiliary heads."""
    shapes: dict[str, tuple[int, ...]] = {}
    state = model.state_dict()
    for key, value in state.items():
        name, kind = key.rsplit(".", 1)
        if kind == "weight":
            shapes[key] = tuple(value.shape)
        else:
            shapes |= {f"{norm_of(name)}.{entry}": tuple(value.shape) for entry in _NORM}
    return shapes


def norm_of(convolution: str) -> str:
    """Name that the batch norm behind a convolution has, if there is one."""
    parent, _, last = convolution.rpartition(".")
    names = {"conv": "bn", "conv1": "bn1", "conv2": "bn2", "0": "1", "conv_atten": "bn_atten"}
    return f"{parent}.{names[last]}" if last in names else ""
