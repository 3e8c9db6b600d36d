"""SemanticStyleGAN's ``g_ema`` as VerA's generator.

The equalised learning rates, the gains, the demodulation of the render net and the scaled noise are
folded into plain weights, in float64. The branch of high-level codes starts at zero, so pictures
and part maps equal the public network's.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera import contract
from vera.errors import UsageError
from vera_export.convert.checkpoint import check_keys, read_pickle, tensors_of, write_record
from vera_export.models import public_generator
from vera_export.models.public_generator import (
    PublicGenerator,
    PublicGeneratorConfig,
)

LICENCE = (
    "CC BY-NC-SA 4.0 (SemanticStyleGAN's code and weights: not for commercial use, "
    "share alike, name the authors)"
)
_WHAT = "a SemanticStyleGAN generator"
_FIR = (4, 4)  # buffers of the filter [1, 3, 3, 1], which is the same everywhere
_MAPPING_RATE = 0.01


def convert_generator(source: Path, out: Path, size: int | None = None) -> dict[str, Any]:
    """Writes ``out/generator.safetensors`` and its record.

    Args:
        source: A training checkpoint (``g_ema``, ``args``) or a bare state dict.
        out: Folder of weights.
        size: Side of the picture; half or a quarter of the checkpoint's is the early exit.

    Returns:
        The record: source, licence, sizes.

    Raises:
        UsageError: The file is no such checkpoint, or has no such size.
    """
    content = read_pickle(source)
    state, arguments = _generator_of(content, source)
    config = infer_config(state, arguments)
    check_keys(_WHAT, state, key_shapes(config))
    model = generator_from(state, config)
    if size is not None:
        model = early_exit(model, size)
    out.mkdir(parents=True, exist_ok=True)
    public_generator.save(model, out / "generator.safetensors")
    return write_record(
        out,
        "generator",
        [source],
        licence=LICENCE,
        size_px=model.config.size,
        trained_at_px=config.size,
    )


def infer_config(
    state: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None
) -> PublicGeneratorConfig:
    """Sizes of a ``g_ema`` from the shapes of its tensors.

    What shapes do not tell comes from ``arguments``, the checkpoint's own ``args``, or is as in the
    published training command: two base layers, six layers before the pseudo-depth, the coarse
    masks added, glasses and earrings transparent. What a missing tensor would tell is the default.

    Raises:
        UsageError: The sizes contradict each other or the arguments.
    """
    given, default = dict(arguments or {}), PublicGeneratorConfig()
    shape = {key: tuple(value.shape) for key, value in state.items()}
    layers = max(_numbers(shape, _LINEAR), default=default.layers - 1) + 1
    base, shaped = int(given.get("base_layers", 2)), int(given.get("depth_layers", 6))
    embed = shape.get("pos_embed.weights", (default.part_width, 2 + 4 * default.octaves))
    latent = _size(shape, "local_nets.*.linears.0.conv.modulation.weight", 1, default.latent_width)
    width = _size(shape, "local_nets.*.to_feat.conv.weight", 0, default.feature_width)
    sides = [shape[f"render_net.noises.noise_{j}"][-1] for j in _numbers(shape, _NOISE)]
    entry = min(sides) // 2 if sides else default.entry
    widths, joined = _render_sizes(shape, width)
    told = int(given.get("coarse_size", default.coarse))
    try:
        config = PublicGeneratorConfig(
            latent_width=latent,
            part_width=embed[0],
            base_layers=base,
            shape_layers=shaped - base,
            texture_layers=layers - shaped,
            octaves=(embed[1] - 2) // 4,
            feature_width=width,
            coarse=told if joined is None else entry << joined,
            entry=entry,
            widths=widths or default.widths,
            mapping_layers=len(_numbers(shape, _STYLE)) or default.mapping_layers,
            residual=bool(given.get("residual_refine", True)),
            transparent=tuple(int(k) for k in given.get("transparent_dims", default.transparent)),
            attribute_widths=tuple(min(w, latent) for w in default.attribute_widths),
        )
    except ValueError as error:
        raise UsageError(f"The checkpoint is not {_WHAT}: {error}; convert another one.") from error
    _check_arguments(given, config)
    return config


def _check_arguments(given: Mapping[str, Any], config: PublicGeneratorConfig) -> None:
    found = {
        "size": config.size,
        "local_layers": config.layers,
        "coarse_size": config.coarse,
        "min_feat_size": config.entry,
        "latent": config.latent_width,
    }
    for name, value in found.items():
        if int(given.get(name, value)) != value:
            raise UsageError(
                f"The checkpoint's arguments do not fit its tensors ({name} {given[name]} beside "
                f"{value}); convert the original file."
            )


def _render_sizes(
    shape: Mapping[str, tuple[int, ...]], features: int
) -> tuple[tuple[int, ...], int | None]:
    """Channels after each doubling, and before which one the fused features join."""
    count = max((j // 2 for j in _numbers(shape, _CONV)), default=-1) + 1
    widths: list[int] = []
    joined = None
    for s in range(count):
        conv, head = f"render_net.convs.{2 * s}", f"render_net.to_rgbs.{s}.conv"
        inputs = _size(shape, f"{conv}.modulation", 1, 0) or _size(shape, f"{conv}.weight", 1, 0)
        if widths and inputs == widths[-1] + features:
            joined = s
        fallback = _size(shape, f"render_net.convs.{2 * s + 1}.weight", 0, 1)
        widths.append(_size(shape, f"{head}.modulation", 1, fallback))
    return tuple(widths), joined


def _size(shape: Mapping[str, tuple[int, ...]], pattern: str, axis: int, default: int) -> int:
    """Size along an axis of the first tensor whose name fits."""
    found = (value for key, value in shape.items() if fnmatchcase(key, pattern))
    value = next(found, ())
    return value[axis] if len(value) > axis else default


def key_shapes(config: PublicGeneratorConfig) -> dict[str, tuple[int, ...]]:
    """Every key of the public ``g_ema`` with its shape."""
    cfg, c, f = config, config.part_width, config.feature_width
    shapes: dict[str, tuple[int, ...]] = {"pos_embed.weights": (c, 2 + 4 * cfg.octaves, 1, 1)}
    for k in range(contract.CLASS_COUNT):
        for i in range(cfg.layers):
            linear = f"local_nets.{k}.linears.{i}"
            shapes[f"{linear}.conv.weight"] = (1, c, c, 1, 1)
            shapes[f"{linear}.conv.modulation.weight"] = (c, cfg.latent_width)
            shapes[f"{linear}.conv.modulation.bias"] = (c,)
            shapes[f"{linear}.activate.bias"] = (c,)
        shapes |= _head(f"local_nets.{k}.to_feat", c, f)
        if k:
            shapes |= _head(f"local_nets.{k}.to_depth", c, 1)
    channels, side = f, cfg.entry
    for s, width in enumerate(cfg.widths):
        inputs = channels + (f if side == cfg.coarse else 0)
        side *= 2
        for j, i in ((2 * s, inputs), (2 * s + 1, width)):
            shapes[f"render_net.convs.{j}.weight"] = (width, i, 3, 3)
            shapes[f"render_net.convs.{j}.modulation"] = (1, i, 1, 1)
            shapes[f"render_net.convs.{j}.noise.weight"] = (1,)
            shapes[f"render_net.convs.{j}.activate.bias"] = (width,)
            shapes[f"render_net.noises.noise_{j}"] = (1, 1, side, side)
        shapes[f"render_net.convs.{2 * s}.blur.kernel"] = _FIR
        shapes |= _head(f"render_net.to_rgbs.{s}", width, 3)
        shapes |= _head(f"render_net.to_segs.{s}", width, contract.CLASS_COUNT)
        channels = width
    for i in range(1, cfg.mapping_layers + 1):
        shapes[f"style.{i}.weight"] = (cfg.latent_width, cfg.latent_width)
        shapes[f"style.{i}.bias"] = (cfg.latent_width,)
    return shapes


def generator_from(state: Mapping[str, Tensor], config: PublicGeneratorConfig) -> PublicGenerator:
    """VerA's generator with the weights of a ``g_ema`` whose keys have been checked."""
    values = {key: value.double() for key, value in state.items()}
    model = PublicGenerator(config)
    converted = {
        **_part_weights(values, config),
        **_render_weights(values, config),
        **{key: v for key, v in model.state_dict().items() if key.endswith("affine_high")},
    }
    rate = _MAPPING_RATE
    for i in range(config.mapping_layers):
        scale = rate / math.sqrt(config.latent_width)
        converted[f"mapping.layers.{i}.weight"] = values[f"style.{i + 1}.weight"] * scale
        converted[f"mapping.layers.{i}.bias"] = values[f"style.{i + 1}.bias"] * rate
    model.load_state_dict({key: value.float() for key, value in converted.items()}, strict=True)
    return model.eval()


def early_exit(model: PublicGenerator, size: int) -> PublicGenerator:
    """The same network without the last doublings: its skip sums are a picture at every size.

    Raises:
        UsageError: The network has no picture of that size.
    """
    config = model.config
    sides = [config.entry << (i + 1) for i in range(len(config.widths))]
    sides = [side for side in sides if side >= 2 * config.coarse]
    if size not in sides:
        raise UsageError(
            f"The generator gives pictures of {', '.join(map(str, sides))} px, not {size}; "
            "take one of these sizes."
        )
    kept = len([side for side in sides if side <= size]) + len(config.widths) - len(sides)
    smaller = PublicGenerator(replace(config, widths=config.widths[:kept]))
    state = model.state_dict()
    smaller.load_state_dict({key: state[key] for key in smaller.state_dict()}, strict=True)
    return smaller.eval()


def _generator_of(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """State dict and arguments of a checkpoint; a bare state dict has no arguments."""
    if isinstance(content, dict) and "g_ema" in content:
        arguments = content.get("args")
        return tensors_of(content["g_ema"], path), dict(vars(arguments)) if arguments else None
    return tensors_of(content, path), None


def _part_weights(values: Mapping[str, Tensor], cfg: PublicGeneratorConfig) -> dict[str, Tensor]:
    parts, c = range(contract.CLASS_COUNT), cfg.part_width
    embed = values["pos_embed.weights"][:, :, 0, 0]
    found = {"embed": embed / math.sqrt(embed.shape[1])}
    for i in range(cfg.layers):
        names = [f"local_nets.{k}.linears.{i}" for k in parts]
        weight = torch.cat([values[f"{n}.conv.weight"] for n in names])[..., 0, 0]
        affine = torch.stack([values[f"{n}.conv.modulation.weight"] for n in names])
        found[f"layers.{i}.weight"] = weight / math.sqrt(c)
        found[f"layers.{i}.affine"] = affine / math.sqrt(cfg.latent_width)
        offsets = [values[f"{n}.conv.modulation.bias"] for n in names]
        found[f"layers.{i}.offset"] = torch.stack(offsets)
        found[f"layers.{i}.bias"] = torch.stack([values[f"{n}.activate.bias"] for n in names])
    feature = [_head_weight(values, f"local_nets.{k}.to_feat") for k in parts]
    found["fuse"] = torch.cat([weight for weight, _ in feature], 1)
    found["fuse_bias"] = torch.stack([bias for _, bias in feature], 1)
    depth = [_head_weight(values, f"local_nets.{k}.to_depth") for k in parts[1:]]
    none = embed.new_zeros(1, 1, c), embed.new_zeros(1, 1, 1)  # of the background
    found["depth"] = torch.cat([none[0], torch.stack([weight for weight, _ in depth])])
    found["depth_bias"] = torch.cat([none[1], torch.stack([bias for _, bias in depth])[..., None]])
    return found


def _render_weights(values: Mapping[str, Tensor], cfg: PublicGeneratorConfig) -> dict[str, Tensor]:
    found = {}
    for s in range(len(cfg.widths)):
        up, conv = f"render_net.convs.{2 * s}", f"render_net.convs.{2 * s + 1}"
        stage = f"stages.{s}"
        found[f"{stage}.up"] = _demodulated(values, up)
        found[f"{stage}.up_bias"] = values[f"{up}.activate.bias"]
        found[f"{stage}.conv.weight"] = _demodulated(values, conv)
        found[f"{stage}.conv.bias"] = values[f"{conv}.activate.bias"]
        for name, source, j in (("noise_up", up, 2 * s), ("noise", conv, 2 * s + 1)):
            strength = values[f"{source}.noise.weight"]
            found[f"{stage}.{name}"] = strength * values[f"render_net.noises.noise_{j}"]
        for name, source in (("rgb", "to_rgbs"), ("part", "to_segs")):
            weight, bias = _head_weight(values, f"render_net.{source}.{s}")
            found[f"{stage}.{name}.weight"] = weight[..., None, None]
            found[f"{stage}.{name}.bias"] = bias
    return found


def _demodulated(values: Mapping[str, Tensor], name: str) -> Tensor:
    """Weight of an unstyled StyleGAN2 convolution: input gains in, output channels normalised."""
    weight = values[f"{name}.weight"]
    weight = weight * values[f"{name}.modulation"] / math.sqrt(9 * weight.shape[1])
    return weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)


def _head(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.conv.weight": (outputs, inputs, 1, 1),
        f"{name}.conv.modulation": (1, inputs, 1, 1),
        f"{name}.bias": (1, outputs, 1, 1),
        f"{name}.upsample.kernel": _FIR,
    }


def _head_weight(values: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight [o, i] and bias [o] of a 1x1 head: gains in, not demodulated."""
    weight = values[f"{name}.conv.weight"] * values[f"{name}.conv.modulation"]
    return weight[..., 0, 0] / math.sqrt(weight.shape[1]), values[f"{name}.bias"].flatten()


_NOISE = re.compile(r"render_net\.noises\.noise_(\d+)")
_CONV = re.compile(r"render_net\.convs\.(\d+)\..*")
_LINEAR = re.compile(r"local_nets\.\d+\.linears\.(\d+)\..*")
_STYLE = re.compile(r"style\.(\d+)\.weight")


def _numbers(keys: Mapping[str, Any], pattern: re.Pattern[str]) -> list[int]:
    return sorted(int(match[1]) for key in keys if (match := pattern.fullmatch(key)))
