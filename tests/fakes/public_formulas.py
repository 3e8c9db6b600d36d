"""SemanticStyleGAN's formulas, written once more from its published description and nothing else.

Parts, layers and convolutions one by one, straight from the names of the public state dict; no code
is shared with the package.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def mapping(state: State, z: Tensor, layers: int) -> Tensor:
    x = z / torch.sqrt((z**2).mean(1, keepdim=True) + 1e-8)
    for i in range(1, layers + 1):
        weight = state[f"style.{i}.weight"] * 0.01 / math.sqrt(z.shape[1])
        x = lrelu(x @ weight.T + 0.01 * state[f"style.{i}.bias"])
    return x


def styles_of(w: Tensor, part: int, layers: int) -> list[Tensor]:
    """The latent of each layer of a part: w [n, 28, d]."""
    rows = [2 + 2 * part if i < 6 else 3 + 2 * part for i in range(layers)]
    if part > 0:
        rows[:2] = [0, 1]
    return [w[:, row] for row in rows]


def coordinates(side: int, octaves: int) -> Tensor:
    line = torch.linspace(-1, 1, side, dtype=torch.float64)
    x, y = line.expand(side, side), line[:, None].expand(side, side)
    planes = [x, y]
    for i in range(octaves):
        planes += [(2**i * x).sin(), (2**i * y).sin(), (2**i * x).cos(), (2**i * y).cos()]
    return torch.stack(planes)[None]


def part(state: State, k: int, w: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
    """Features [n, f, c, c] and pseudo-depth [n, 1, c, c] of one part."""
    x = embedded.expand(len(w), -1, -1, -1)
    depth = torch.zeros_like(x[:, :1])
    for i, style in enumerate(styles_of(w, k, 10)):
        name = f"local_nets.{k}.linears.{i}"
        x = lrelu(modulated(state, name, x, style) + channels(state[f"{name}.activate.bias"]))
        if i == 5 and k > 0:
            depth = head(state, f"local_nets.{k}.to_depth", x)
    return head(state, f"local_nets.{k}.to_feat", x), depth


def modulated(state: State, name: str, x: Tensor, style: Tensor) -> Tensor:
    """Modulated and demodulated 1x1 convolution, sample by sample."""
    affine = state[f"{name}.conv.modulation.weight"] / math.sqrt(style.shape[1])
    scale = style @ affine.T + state[f"{name}.conv.modulation.bias"]
    kernel = state[f"{name}.conv.weight"][0] / math.sqrt(x.shape[1])
    found = []
    for sample, s in zip(x, scale, strict=True):
        weight = kernel * s[None, :, None, None]
        weight = weight / torch.sqrt((weight**2).sum((1, 2, 3), keepdim=True) + 1e-8)
        found.append(F.conv2d(sample[None], weight))
    return torch.cat(found)


def fuse(features: list[Tensor], depths: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Fused features and coarse masks."""
    masks = torch.softmax(torch.cat(depths, 1), 1)
    opaque = [k for k in range(13) if k not in (10, 12)]
    total = masks[:, opaque].sum(1, keepdim=True) + 1e-8
    fused = torch.zeros_like(features[0])
    for k, feature in enumerate(features):
        weight = masks[:, k : k + 1]
        fused = fused + feature * (weight if k in (10, 12) else weight / total)
    return fused, masks


def render(
    state: State, features: Tensor, masks: Tensor, entry: int, stages: int
) -> tuple[Tensor, Tensor]:
    """Picture and part map after so many doublings."""
    coarse = features.shape[-1]
    x = F.adaptive_avg_pool2d(features, entry)
    rgb = seg = None
    for s in range(stages):
        if x.shape[-1] == coarse:
            x = torch.cat([x, features], 1)
        x = layer(state, f"render_net.convs.{2 * s}", state[noise(2 * s)], x, up=True)
        x = layer(state, f"render_net.convs.{2 * s + 1}", state[noise(2 * s + 1)], x, up=False)
        rgb = skip(rgb, head(state, f"render_net.to_rgbs.{s}", x))
        seg = skip(seg, head(state, f"render_net.to_segs.{s}", x))
        if x.shape[-1] == coarse:
            seg = seg + 2 * masks - 1
    return rgb, seg


def layer(state: State, name: str, noise_map: Tensor, x: Tensor, *, up: bool) -> Tensor:
    weight = state[f"{name}.weight"] * state[f"{name}.modulation"] / math.sqrt(9 * x.shape[1])
    weight = weight / torch.sqrt((weight**2).sum((1, 2, 3), keepdim=True) + 1e-8)
    if up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = upfirdn(x, up=1, pad=(1, 1))
    else:
        x = F.conv2d(x, weight, padding=1)
    x = x + state[f"{name}.noise.weight"] * noise_map
    return lrelu(x + channels(state[f"{name}.activate.bias"]))


def skip(before: Tensor | None, now: Tensor) -> Tensor:
    return now if before is None else now + upfirdn(before, up=2, pad=(2, 1))


def upfirdn(x: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """Zeros between the pixels, zeros around them, the filter with a gain of 4."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, h * up, w * up)
    wide[:, :, ::up, ::up] = x
    wide = F.pad(wide, (*pad, *pad))
    taps = x.new_tensor([1, 3, 3, 1])
    kernel = torch.outer(taps, taps) / 64 * 4
    return torch.cat([F.conv2d(wide[:, i : i + 1], kernel[None, None]) for i in range(c)], 1)


def head(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.conv.weight"] * state[f"{name}.conv.modulation"]
    return F.conv2d(x, weight / math.sqrt(x.shape[1])) + state[f"{name}.bias"]


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def channels(bias: Tensor) -> Tensor:
    return bias[:, None, None]


def noise(j: int) -> str:
    return f"render_net.noises.noise_{j}"


def generate(
    state: State, w: Tensor, *, side: int, octaves: int, entry: int, stages: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, part map and pseudo-depths of latents w [n, 28, d], in float64."""
    state = {key: value.double() for key, value in state.items()}
    weight = state["pos_embed.weights"]
    embedded = F.conv2d(coordinates(side, octaves), weight / math.sqrt(weight.shape[1]))
    parts = [part(state, k, w.double(), embedded) for k in range(13)]
    fused, masks = fuse([f for f, _ in parts], [d for _, d in parts])
    image, segmentation = render(state, fused, masks, entry, stages)
    return image, segmentation, torch.cat([d for _, d in parts], 1)
