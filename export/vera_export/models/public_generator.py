"""VerA's generator in the layout of the public SemanticStyleGAN checkpoints.

SemanticStyleGAN (Shi 2022, arXiv 2112.02236) as released at 512 px: ten modulated layers per part,
Fourier features without pi, a render net of StyleGAN2 convolutions (Karras 2020, arXiv 1912.04958)
without styles. Added is VerA's branch of high-level codes, which starts at zero, so that the
outputs are those of the public network.

What depends on nothing is folded when a checkpoint is converted: the render net's gains and
demodulation into its weights, the noise into one map per layer. So this network is for synthesis,
inversion and training of the added branch, not for training of the render net from scratch.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.layers import Upsample, activate, mean_pool
from vera_export.models.stored import load_stored, save_stored

ARCHITECTURE = "semantic-stylegan"
TEMPERATURE = 0.2  # the part map is trained towards +-1, so its softmax needs a factor of about 5

_K = contract.CLASS_COUNT
_HIGH = len(contract.HIGH_LEVEL)


@dataclass(frozen=True)
class PublicGeneratorConfig:
    """Sizes of the layout; the defaults are those of the 512 px checkpoints.

    Attributes:
        latent_width: Width of a latent row.
        part_width: Channels of the part generators.
        base_layers: Layers driven by the coarse codes.
        shape_layers: Layers after them driven by the shape codes; pseudo-depths are read here.
        texture_layers: Layers after them driven by the texture codes.
        octaves: Of the Fourier features: log2 of the size that the checkpoint was trained at.
        feature_width: Channels of the fused features.
        coarse: Side of the part generators' grid.
        entry: Side at which the render net starts.
        widths: Channels of the render net after each doubling. One less is the early exit: the same
            network at half the size.
        mapping_layers: Layers of the mapping network.
        residual: Whether the coarse masks are added to the part map.
        transparent: Classes that are painted on top of the others.
        attribute_widths: How many numbers of each high-level row are read.
    """

    latent_width: int = 512
    part_width: int = 64
    base_layers: int = 2
    shape_layers: int = 4
    texture_layers: int = 4
    octaves: int = 9
    feature_width: int = 512
    coarse: int = 64
    entry: int = 16
    widths: tuple[int, ...] = (512, 512, 256, 128, 64)
    mapping_layers: int = 8
    residual: bool = True
    transparent: tuple[int, ...] = (10, 12)
    attribute_widths: tuple[int, ...] = (128, 64, 64, 64)

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if not self.entry < self.coarse <= self.size or len(self.attribute_widths) != _HIGH:
            raise ValueError(
                f"entry < coarse <= size and {_HIGH} attribute widths are needed, got {self}"
            )
        if max(self.attribute_widths) > self.latent_width:
            raise ValueError(f"attribute widths must not exceed the latent's, got {self}")

    @property
    def size(self) -> int:
        """Side of the picture."""
        return self.entry << len(self.widths)

    @property
    def layers(self) -> int:
        """Layers of a part generator."""
        return self.base_layers + self.shape_layers + self.texture_layers

    @classmethod
    def tiny(cls) -> "PublicGeneratorConfig":
        """The same graph with few channels at 64 px, for tests."""
        return cls(
            16, 8, octaves=6, feature_width=16, coarse=16, entry=8, widths=(16, 12, 8),
            mapping_layers=2, attribute_widths=(16, 16, 16, 16),
        )  # fmt: skip


class PublicPartLayer(nn.Module):
    """One modulated 1x1 layer of all part generators at once.

    ``y_o = lrelu(sum_i V_oi x_i + b_o) sqrt(2)`` with ``V = demodulate(W diag(s))`` and
    ``s = A w_semantic + a + B w_high``, per part; B starts at zero.
    """

    def __init__(self, width: int, latent: int, high: int) -> None:
        """Width of the layer, of a latent row and of all high-level codes that are read."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(_K, width, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(_K, width))
        self.affine = nn.Parameter(torch.randn(_K, width, latent) / math.sqrt(latent))
        self.offset = nn.Parameter(torch.ones(_K, width))
        self.affine_high = nn.Parameter(torch.zeros(_K, width, high))

    def style(self, semantic: Tensor, high: Tensor) -> Tensor:
        """Semantic codes [n, k, d] and high-level codes [n, h] -> [n, k, i].

        The background never depends on who stands before it.
        """
        style = torch.einsum("kid,nkd->nki", self.affine, semantic) + self.offset
        branch = torch.einsum("kih,nh->nki", self.affine_high[1:], high)
        return torch.cat([style[:, :1], style[:, 1:] + branch], 1)

    def forward(self, x: Tensor, semantic: Tensor, high: Tensor) -> Tensor:
        """X [n, k, i, p] -> [n, k, o, p]."""
        weight = self.weight * self.style(semantic, high)[:, :, None]
        weight = weight * torch.rsqrt(weight.square().sum(3, keepdim=True) + 1e-8)
        return activate(weight @ x + self.bias[..., None])


class RenderStage(nn.Module):
    """One doubling of the render net: transposed convolution, filter, convolution, two heads."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        """Channels in and out; ``side`` after the doubling."""
        super().__init__()
        self.up = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / math.sqrt(9 * inputs))
        self.up_bias = nn.Parameter(torch.zeros(outputs))
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=1 / math.sqrt(9 * outputs))
        nn.init.zeros_(cast(Tensor, self.conv.bias))
        self.noise_up = nn.Parameter(torch.zeros(1, 1, side, side))
        self.noise = nn.Parameter(torch.zeros(1, 1, side, side))
        self.rgb = nn.Conv2d(outputs, 3, 1)
        self.part = nn.Conv2d(outputs, _K, 1)
        self.enlarge = Upsample(side // 2, zeros=True)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, s, s] -> [n, outputs, 2 s, 2 s]."""
        x = nn.functional.conv_transpose2d(x, self.up.transpose(0, 1), stride=2)
        taps = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 4
        kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
        x = nn.functional.conv2d(x, kernel, padding=1, groups=x.shape[1])
        x = activate(x + self.up_bias[:, None, None] + self.noise_up)
        return activate(self.conv(x) + self.noise)


class Mapping(nn.Module):
    """StyleGAN2's mapping network: z [n, d] -> w [n, d]; its learning-rate factors are folded."""

    def __init__(self, width: int, layers: int) -> None:
        """Width and number of its layers."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=1 / math.sqrt(width))
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Normalises z to unit mean square, then maps it."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = activate(layer(x))
        return x


class PublicGenerator(nn.Module):
    """Latents [n, 32, d] -> image, part map and pseudo-depths, sizes as in ``layout``."""

    position: Tensor
    rows: Tensor
    opaque: Tensor
    has_depth: Tensor

    def __init__(self, config: PublicGeneratorConfig | None = None) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.config = cfg = config or PublicGeneratorConfig()
        width, d, f = cfg.part_width, cfg.latent_width, cfg.feature_width
        self.register_buffer("position", fourier(cfg.coarse, cfg.octaves), persistent=False)
        self.register_buffer("rows", _row_table(cfg), persistent=False)
        opaque = [float(part not in cfg.transparent) for part in range(_K)]
        self.register_buffer("opaque", torch.tensor(opaque)[:, None], persistent=False)
        has_depth = torch.ones(_K, 1, 1)
        has_depth[0] = 0  # the background's pseudo-depth is the constant 0
        self.register_buffer("has_depth", has_depth, persistent=False)
        inputs = self.position.shape[0]
        self.embed = nn.Parameter(torch.randn(width, inputs) / math.sqrt(inputs))
        high = sum(cfg.attribute_widths)
        self.layers = nn.ModuleList(PublicPartLayer(width, d, high) for _ in range(cfg.layers))
        self.depth = nn.Parameter(torch.randn(_K, 1, width) / math.sqrt(width))
        self.depth_bias = nn.Parameter(torch.zeros(_K, 1, 1))
        self.fuse = nn.Parameter(torch.randn(f, _K * width) / math.sqrt(width))
        self.fuse_bias = nn.Parameter(torch.zeros(f, _K))
        self.stages = nn.ModuleList()
        channels, side = f, cfg.entry
        for outputs in cfg.widths:
            inputs = channels + (f if side == cfg.coarse else 0)
            self.stages.append(RenderStage(inputs, outputs, 2 * side))
            channels, side = outputs, 2 * side
        self.mapping = Mapping(d, cfg.mapping_layers)

    @property
    def layout(self) -> dict[str, Any]:
        """The fields of ``contract.Layout`` that this network settles."""
        cfg = self.config
        return {
            "image": cfg.size,
            "segmentation": cfg.size,
            "coarse": cfg.coarse,
            "latent_width": cfg.latent_width,
            "temperature": TEMPERATURE,
        }

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Renders ``latent``.

        Returns:
            image [n, 3, s, s] in about [-1, 1] (not clamped), part map [n, 13, s, s] trained
            towards +-1 (its largest value is the class; divided by 0.2 it serves as logits) and
            pseudo-depths [n, 13, c, c], whose softmax gives the coarse masks.
        """
        depth, features = self.parts(latent)
        image, segmentation = self.render(features, depth)
        return image, segmentation, depth

    def parts(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Part generators and fusion: pseudo-depths [n, k, c, c] and features [n, f, c, c]."""
        cfg, n, side = self.config, latent.shape[0], self.config.coarse
        codes = latent[:, self.rows]  # [n, layers, k, d]
        high = [latent[:, i - _HIGH, :w] for i, w in enumerate(cfg.attribute_widths)]
        x = depth = self.embed @ self.position
        for i, layer in enumerate(self.layers):
            x = layer(x, codes[:, i], torch.cat(high, 1))  # [n, k, c, p]
            if i == cfg.base_layers + cfg.shape_layers - 1:
                depth = ((self.depth @ x + self.depth_bias) * self.has_depth)[:, :, 0]
        masks = torch.softmax(depth, 1)
        total = (masks * self.opaque).sum(1, keepdim=True) + 1e-8
        mix = masks * (self.opaque / total + (1 - self.opaque))  # [n, k, p]
        fused = self.fuse @ (x * mix[:, :, None]).flatten(1, 2) + self.fuse_bias @ mix
        return depth.reshape(n, _K, side, side), fused.reshape(n, -1, side, side)

    def render(self, features: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Render net: features [n, f, c, c] and pseudo-depths -> image and part map."""
        cfg = self.config
        x = mean_pool(features, cfg.coarse // cfg.entry)
        rgb, parts = x.new_zeros(()), x.new_zeros(())
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, RenderStage)
            if cfg.entry << i == cfg.coarse:
                x = torch.cat([x, features], 1)
            x = stage(x)
            if i:
                rgb, parts = stage.enlarge(rgb), stage.enlarge(parts)
            rgb, parts = rgb + stage.rgb(x), parts + stage.part(x)
            if cfg.residual and cfg.entry << (i + 1) == cfg.coarse:
                parts = parts + 2 * torch.softmax(depth, 1) - 1
        return rgb, parts

    def latents(self, w: Tensor) -> Tensor:
        """W+ [n, 32, d] of mapped samples [n, d]: one w in all semantic rows, no attributes."""
        semantic = w[:, None].expand(-1, contract.LATENT_ROWS - _HIGH, -1)
        return torch.cat([semantic, w.new_zeros(w.shape[0], _HIGH, w.shape[1])], 1)


def fourier(side: int, octaves: int) -> Tensor:
    """Coordinates and their Fourier features on a grid, [2 + 4 octaves, side^2].

    Order: x, y, then for each frequency 1, 2, 4, ... (no pi) the sines of x and y, their cosines.
    """
    line = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack([x, y]).reshape(2, -1)
    waves = [f(2.0**i * grid) for i in range(octaves) for f in (torch.sin, torch.cos)]
    return torch.cat([grid, *waves])


def _row_table(cfg: PublicGeneratorConfig) -> Tensor:
    """int64 [layers, k]: which latent row drives which layer of which part."""
    table = torch.zeros(cfg.layers, _K, dtype=torch.int64)
    for part in range(_K):
        table[:, part] = contract.shape_row(part)
        table[cfg.base_layers + cfg.shape_layers :, part] = contract.texture_row(part)
        if part:
            for layer in range(cfg.base_layers):
                table[layer, part] = contract.COARSE_ROWS[min(layer, 1)]
    return table


def save(model: PublicGenerator, path: Path) -> None:
    """Writes safetensors whose header holds architecture and configuration."""
    save_stored(model, model.config, ARCHITECTURE, path)


def load(path: Path) -> PublicGenerator:
    """Reads a generator from safetensors, strictly; the header holds its configuration."""
    return load_stored(path, lambda **fields: PublicGenerator(PublicGeneratorConfig(**fields)))
