"""Exact rewrites: the generator and the perceptual network in the form that is exported.

Nothing here changes a function, only the order of its arithmetic, and a test compares each rewrite
with the network it stands for. Gains go into weights and biases, the style of a part layer goes
into its weights (they are smaller than its activations), and every layer brings its own derivative,
made of convolutions, matrix products and elementwise operations.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.derivatives import Convolve, Leaky, Pool, Product, Shuffle, Split, call
from vera_export.models.generator import Generator, PartLayer
from vera_export.models.layers import LEAK, Conv, UpConv, Upsample
from vera_export.models.perceptual import Perceptual

_HIGH = len(contract.HIGH_LEVEL)
_GAIN = math.sqrt(2)  # of ``layers.activate``; positive, so it commutes with the leaky ReLU


def _conv(x: Tensor, conv: nn.Conv2d, gain: float = 1.0) -> Tensor:
    assert conv.bias is not None
    weight, bias = (conv.weight, conv.bias) if gain == 1 else (conv.weight * gain, conv.bias * gain)
    y: Tensor = call(Convolve, x, weight, bias)
    return y


def _active(x: Tensor, conv: nn.Conv2d) -> Tensor:
    y: Tensor = call(Leaky, _conv(x, conv, _GAIN), LEAK)
    return y


def _up(x: Tensor, conv: nn.Conv2d) -> Tensor:
    # The activation acts on single values, so it commutes with the shuffle and joins the
    # convolution.
    y: Tensor = call(Shuffle, _active(x, conv))
    return y


class FoldedPerceptual(nn.Module):
    """``Perceptual`` with the gradients above."""

    def __init__(self, source: Perceptual) -> None:
        """Shares the parameters of ``source``."""
        super().__init__()
        self.source = source

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """[n, 3, 256, 256] -> the taps of ``contract.PERCEPTUAL_TAPS``."""
        taps = []
        x = image
        for _ in range(round(math.log2(image.shape[-1] // contract.CROP_SIZE))):
            x = call(Pool, x)
        for first, second in zip(self.source.first, self.source.second, strict=True):
            assert isinstance(first, nn.Conv2d)
            assert isinstance(second, nn.Conv2d)
            x = call(Leaky, _conv(call(Pool, x), first), 0.0)
            x = call(Leaky, _conv(x, second), 0.0)
            taps.append(x)
        return tuple(taps)


class FoldedGenerator(nn.Module):
    """``Generator`` with one modulated weight per part, layer and sample.

    A part layer is ``y_o = d_o sum_i W_oi s_i x_i + b_o``; here ``V_oi = d_o W_oi s_i`` is formed
    first, for all layers at once, and a layer is one batched matrix product.
    """

    select: Tensor
    select_high: Tensor
    place: Tensor
    grid: Tensor
    affine: Tensor
    affine_high: Tensor
    weight: Tensor

    def __init__(self, source: Generator) -> None:
        """Stacks the part layers of ``source`` and shares its other parameters."""
        super().__init__()
        self.source = source
        k = contract.CLASS_COUNT
        layers = [cast(PartLayer, layer) for layer in source.layers]
        width = source.config.part_width
        with torch.no_grad():
            self.register_buffer("select", source.select.clone())  # [l k, rows]
            self.register_buffer(
                "select_high", torch.eye(contract.LATENT_ROWS).to(source.fuse)[-_HIGH:]
            )
            self.register_buffer("place", torch.eye(3 + k).to(source.fuse)[:, 3:])  # [3 + k, k]
            self.register_buffer("grid", source.embed @ source.position)  # [c, p]
            stacked = torch.cat([layer.affine for layer in layers])  # [l k, c, d]
            self.register_buffer("affine", stacked)
            high = torch.cat([layer.affine_high * layer.reach for layer in layers])
            self.register_buffer("affine_high", high.reshape(len(layers) * k * width, -1))
            self.register_buffer(
                "weight", torch.cat([layer.weight for layer in layers])
            )  # [l k, o, i]

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Same values as ``Generator.forward``."""
        depth, features = self._parts(latent, self._weights(latent))
        return self._render(features, depth)

    def _weights(self, latent: Tensor) -> tuple[Tensor, ...]:
        """Modulated weights of each layer, [n, k, o, i]; they carry the activation's gain."""
        n, k, width = latent.shape[0], contract.CLASS_COUNT, self.source.config.part_width
        # Products with constant tables instead of indexing: their gradients are products too.
        codes = call(Product, self.select, latent).permute(1, 0, 2)  # [l k, n, d]
        high = call(Product, self.select_high, latent)
        style = call(Product, codes, self.affine.transpose(1, 2))  # [l k, n, i]
        high = (
            call(Product, high.reshape(n, -1), self.affine_high.T)
            .reshape(n, -1, width)
            .permute(1, 0, 2)
        )
        style = style + high + 1
        half_square = self.weight.square() * 0.5  # rsqrt(v / 2) = gain rsqrt(v)
        demodulation = torch.rsqrt(
            call(Product, style.square(), half_square.transpose(1, 2)) + 0.5e-8
        )
        weight = (
            self.weight[:, None] * style[:, :, None] * demodulation[..., None]
        )  # [l k, n, o, i]
        layers = len(self.source.layers)
        pieces: tuple[Tensor, ...] = call(Split, weight.permute(1, 0, 2, 3), *[k] * layers)
        return pieces

    def _parts(self, latent: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        source, k, side = self.source, contract.CLASS_COUNT, contract.COARSE_SIZE
        n, width = latent.shape[0], source.config.part_width
        last_shape = source.config.base_layers + source.config.shape_layers - 1
        x = depth = self.grid
        for i, (layer, weight) in enumerate(zip(source.layers, weights, strict=True)):
            bias = cast(PartLayer, layer).bias.reshape(k, width, 1) * _GAIN
            x = call(Leaky, call(Product, weight, x) + bias, LEAK)  # [n, k, c, p]
            if i == last_shape:
                depth = call(Product, source.depth, x) + source.depth_bias  # [n, k, 1, p]
                depth = (depth * source.has_depth).reshape(n, k, side * side)
        masks = torch.softmax(depth, 1)
        opaque = source.opaque.reshape(k, 1)
        total = (masks * opaque).sum(1, keepdim=True) + 1e-8
        mix = masks * (opaque / total + (1 - opaque))  # [n, k, p]
        fused = call(Product, source.fuse, (x * mix[:, :, None]).reshape(n, k * width, side * side))
        fused = fused + call(Product, source.fuse_bias, mix)
        return depth.reshape(n, k, side, side), fused.reshape(n, -1, side, side)

    def _render(self, features: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source = self.source
        context = call(Pool, features)
        first, second, up = source.context
        context = _active(context, cast(Conv, first).conv)
        context = _active(context, cast(Conv, second).conv)
        x = _active(features, source.entry.conv) + _up(context, cast(UpConv, up).conv)
        x = _active(x, source.conv_32.conv)
        x = _active(_up(x, source.up_64.conv), source.conv_64.conv)
        both = _heads(x, source.rgb_64, source.part_64)
        # The depths join the part channels by a product with a constant: a pad's gradient would be
        # a slice.
        both = both + call(
            Product, self.place, _enlarge(depth, source.enlarge_32).flatten(2)
        ).reshape(both.shape)
        x = _active(_up(x, source.up_128.conv), source.conv_128.conv)
        both = _enlarge(both, source.enlarge_64) + _heads(x, source.rgb_128, source.part_128)
        fine = _conv(_up(x, source.up_256.conv), source.rgb_256)
        rgb, parts = call(Split, both, 3, contract.CLASS_COUNT)
        return _enlarge(rgb, source.enlarge_128) + fine, parts, depth


def _enlarge(x: Tensor, layer: Upsample) -> Tensor:
    y: Tensor = call(Product, layer.matrix, call(Product, x, layer.matrix.T))
    return y


def _heads(x: Tensor, rgb: nn.Conv2d, part: nn.Conv2d) -> Tensor:
    """Both 1x1 heads as one convolution, [n, 3 + k, h, w]."""
    assert rgb.bias is not None
    assert part.bias is not None
    y: Tensor = call(
        Convolve, x, torch.cat([rgb.weight, part.weight]), torch.cat([rgb.bias, part.bias])
    )
    return y
