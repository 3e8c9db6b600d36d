"""Exact rewrites of the public layout's generator and of LPIPS' VGG16, in the form to export.

As in ``rewrites``: another order of arithmetic, no other function. The transposed convolution with
its filter becomes a 2x2 convolution to four phases, depth to space and the filter channel by
channel, which needs 16 products per pixel and channel where one convolution for all of it would
need 36. A convolution of joined channels becomes the sum of two, because a join's gradient would
be slices.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.derivatives import (
    Convolve,
    Leaky,
    Peak,
    Pool,
    Product,
    Shuffle,
    Smooth,
    Split,
    call,
)
from vera_export.models.layers import LEAK
from vera_export.models.public_generator import PublicGenerator, PublicPartLayer, RenderStage
from vera_export.models.vgg import Vgg

_K = contract.CLASS_COUNT
_HIGH = len(contract.HIGH_LEVEL)
_GAIN = math.sqrt(2)  # of ``layers.activate``; positive, so it commutes with the leaky ReLU

# Which of the three taps of the transposed convolution each phase has at its two places; -1: none.
_PHASES = ((2, 0), (-1, 1))


class FoldedPublicGenerator(nn.Module):
    """``PublicGenerator`` with one modulated weight per part, layer and sample."""

    select: Tensor
    grid: Tensor
    affine: Tensor
    offset: Tensor
    weight: Tensor
    place: Tensor

    def __init__(self, source: PublicGenerator) -> None:
        """Stacks the part layers of ``source`` and shares its other parameters."""
        super().__init__()
        self.source = source
        layers = [cast(PublicPartLayer, layer) for layer in source.layers]
        like = source.fuse
        with torch.no_grad():
            select = nn.functional.one_hot(source.rows.flatten(), contract.LATENT_ROWS)
            self.register_buffer("select", select.to(like))  # [l k, rows]
            self.register_buffer("place", torch.eye(3 + _K).to(like)[:, 3:])  # [3 + k, k]
            self.register_buffer("grid", source.embed @ source.position)  # [c, p]
            self.register_buffer("affine", torch.cat([layer.affine for layer in layers]))
            self.register_buffer("offset", torch.cat([layer.offset for layer in layers])[:, None])
            self.register_buffer("weight", torch.cat([layer.weight for layer in layers]))
            self.branch = nn.ModuleList(_branches(source, layers))
            self.stages = nn.ModuleList(
                FoldedStage(
                    cast(RenderStage, stage),
                    joined=source.config.entry << i == source.config.coarse,
                )
                for i, stage in enumerate(source.stages)
            )

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Same values as ``PublicGenerator.forward``."""
        depth, masks, features = self._parts(self._weights(latent))
        image, segmentation = self._render(features, masks)
        return image, segmentation, depth

    def _weights(self, latent: Tensor) -> tuple[Tensor, ...]:
        """Modulated weights of each layer, [n, k, o, i]; they carry the activation's gain."""
        # Products with constant tables instead of indexing: their gradients are products too.
        codes = call(Product, self.select, latent).permute(1, 0, 2)  # [l k, n, d]
        style = call(Product, codes, self.affine.transpose(1, 2)) + self.offset  # [l k, n, i]
        for branch in self.branch:
            style = style + branch(latent)
        half_square = self.weight.square() * 0.5  # rsqrt(v / 2) = gain rsqrt(v)
        scale = torch.rsqrt(call(Product, style.square(), half_square.transpose(1, 2)) + 0.5e-8)
        weight = self.weight[:, None] * style[:, :, None] * scale[..., None]  # [l k, n, o, i]
        pieces: tuple[Tensor, ...] = call(
            Split, weight.permute(1, 0, 2, 3), *[_K] * len(self.source.layers)
        )
        return pieces

    def _parts(self, weights: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        source, cfg, n = self.source, self.source.config, weights[0].shape[0]
        side = cfg.coarse
        x = depth = self.grid
        for i, (layer, weight) in enumerate(zip(source.layers, weights, strict=True)):
            bias = cast(PublicPartLayer, layer).bias[..., None] * _GAIN
            x = call(Leaky, call(Product, weight, x) + bias, LEAK)  # [n, k, c, p]
            if i == cfg.base_layers + cfg.shape_layers - 1:
                depth = (call(Product, source.depth, x) + source.depth_bias) * source.has_depth
                depth = depth.reshape(n, _K, side * side)
        masks = torch.softmax(depth, 1)
        total = (masks * source.opaque).sum(1, keepdim=True) + 1e-8
        mix = masks * (source.opaque / total + (1 - source.opaque))  # [n, k, p]
        parts = (x * mix[:, :, None]).reshape(n, _K * cfg.part_width, side * side)
        fused = call(Product, source.fuse, parts) + call(Product, source.fuse_bias, mix)
        return depth.reshape(n, _K, side, side), masks, fused.reshape(n, -1, side, side)

    def _render(self, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        cfg = self.source.config
        x = features
        for _ in range(round(math.log2(cfg.coarse // cfg.entry))):
            x = call(Pool, x)
        both = x
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, FoldedStage)
            x = stage(x, features)
            both = stage.heads(x) if i == 0 else stage.enlarge(both) + stage.heads(x)
            if cfg.residual and cfg.entry << (i + 1) == cfg.coarse:
                coarse = call(Product, self.place, masks * 2 - 1)
                both = both + coarse.reshape(both.shape)
        rgb, parts = call(Split, both, 3, _K)
        return rgb, parts


class FoldedStage(nn.Module):
    """``RenderStage`` with the gradients of ``derivatives``."""

    phases: Tensor
    phases_joined: Tensor

    def __init__(self, source: RenderStage, *, joined: bool) -> None:
        """``joined``: half of the stage's inputs are the fused features."""
        super().__init__()
        self.source = source
        self.joined = joined
        weights = source.up.chunk(2, 1) if joined else (source.up,)
        self.register_buffer("phases", phase_kernel(weights[0]))
        if joined:
            self.register_buffer("phases_joined", phase_kernel(weights[1]))
        self.noisy = bool(source.noise.any()), bool(source.noise_up.any())

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """[n, inputs, s, s] and the fused features -> [n, outputs, 2 s, 2 s]."""
        source = self.source
        up = call(Convolve, x, self.phases * _GAIN, None)
        if self.joined:
            up = up + call(Convolve, features, self.phases_joined * _GAIN, None)
        # The last row and column of the shuffled map are zeros: one zero fewer behind it.
        x = call(Smooth, call(Shuffle, up), 1, 0) + source.up_bias[:, None, None] * _GAIN
        if self.noisy[1]:  # not added to the bias first: the sum would be a constant of full size
            x = x + source.noise_up * _GAIN
        x = call(Leaky, x, LEAK)
        assert source.conv.bias is not None
        x = call(Convolve, x, source.conv.weight * _GAIN, source.conv.bias * _GAIN)
        if self.noisy[0]:
            x = x + source.noise * _GAIN
        y: Tensor = call(Leaky, x, LEAK)
        return y

    def heads(self, x: Tensor) -> Tensor:
        """Both 1x1 heads as one convolution, [n, 3 + k, s, s]."""
        rgb, part = self.source.rgb, self.source.part
        assert rgb.bias is not None
        assert part.bias is not None
        weight, bias = torch.cat([rgb.weight, part.weight]), torch.cat([rgb.bias, part.bias])
        y: Tensor = call(Convolve, x, weight, bias)
        return y

    def enlarge(self, x: Tensor) -> Tensor:
        """Skip sums at twice the side."""
        matrix = self.source.enlarge.matrix
        y: Tensor = call(Product, matrix, call(Product, x, matrix.T))
        return y


class FoldedVgg(nn.Module):
    """``Vgg`` with the gradients of ``derivatives``."""

    def __init__(self, source: Vgg) -> None:
        """Shares the parameters of ``source``."""
        super().__init__()
        self.source = source

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Same values as ``Vgg.forward``."""
        source = self.source
        x = image
        for _ in range(round(math.log2(image.shape[-1] // source.config.side))):
            x = call(Pool, x)
        x = (x - source.shift) * (1 / source.scale)
        taps: list[Tensor] = []
        for block in source.blocks:
            assert isinstance(block, nn.ModuleList)
            if taps:
                x = call(Peak, x)
            for conv in block:
                assert isinstance(conv, nn.Conv2d)
                x = call(Leaky, call(Convolve, x, conv.weight, conv.bias), 0.0)
            taps.append(x)
        return tuple(taps)


class _Branch(nn.Module):
    """What one high-level code adds to every style."""

    row: Tensor
    pick: Tensor
    weight: Tensor

    def __init__(self, row: Tensor, pick: Tensor, weight: Tensor, layers: int) -> None:
        """Row [1, rows], the read part of it [d, w], and the weights [w, l k c]."""
        super().__init__()
        self.register_buffer("row", row)
        self.register_buffer("pick", pick)
        self.register_buffer("weight", weight)
        self.count = layers

    def forward(self, latent: Tensor) -> Tensor:
        """Latents [n, rows, d] -> [l k, n, c]."""
        code = call(Product, call(Product, self.row, latent), self.pick)  # [n, 1, w]
        style: Tensor = call(Product, code, self.weight)
        return style.reshape(latent.shape[0], self.count, -1).permute(1, 0, 2)


def phase_kernel(kernel: Tensor) -> Tensor:
    """Kernel [o, i, 3, 3] of a transposed convolution of stride 2 as one [4 o, i, 2, 2] to phases.

    With a padding of 1 and depth to space it gives the transposed convolution's result and one more
    row and column of zeros.
    """
    outputs, inputs = kernel.shape[:2]
    phases = kernel.new_zeros(outputs, 2, 2, inputs, 2, 2)
    for py, rows in enumerate(_PHASES):
        for px, columns in enumerate(_PHASES):
            for y, row in enumerate(rows):
                for x, column in enumerate(columns):
                    if row >= 0 and column >= 0:
                        phases[:, py, px, :, y, x] = kernel[:, :, row, column]
    return phases.reshape(4 * outputs, inputs, 2, 2)


def _branches(source: PublicGenerator, layers: list[PublicPartLayer]) -> list[_Branch]:
    """One per high-level code that has an effect: a branch that is still zero costs nothing."""
    eye = torch.eye(contract.LATENT_ROWS).to(source.fuse)
    pick = torch.eye(source.config.latent_width).to(source.fuse)
    found = []
    for i, weight in enumerate(
        torch.cat([layer.affine_high for layer in layers]).split(source.config.attribute_widths, 2)
    ):
        read = weight.reshape(len(layers), _K, *weight.shape[1:]).clone()  # [l, k, c, w]
        read[:, 0] = 0  # the background has no branch
        if read.any():
            flat = read.flatten(0, 2).T.contiguous()
            row, width = eye[i - _HIGH][None], weight.shape[2]
            found.append(_Branch(row, pick[:, :width].contiguous(), flat, len(layers) * _K))
    return found
