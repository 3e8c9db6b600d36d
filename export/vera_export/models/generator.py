"""VerA's generator: the part generators of SemanticStyleGAN with a dual latent space, compact.

Follows SemanticStyleGAN (Shi 2022, arXiv 2112.02236): one small coordinate network per class,
pseudo-depths, softmax masks, fused features, a render net. VerA (arXiv 2312.02124) adds high-level
codes (identity, expression, pose, age) that condition every foreground part. Differences to the
published layout: widths, 8 instead of 10 layers, sub-pixel convolutions in the render net, no noise
inputs, a part map at half resolution.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.layers import Conv, UpConv, Upsample, activate, mean_pool

_TRANSPARENT = ("glasses", "earring")  # painted on top of the opaque parts, as in SemanticStyleGAN
_HIGH = len(contract.HIGH_LEVEL)


@dataclass(frozen=True)
class GeneratorConfig:
    """Widths of the generator; classes, rows and sizes come from the contract."""

    part_width: int = 48
    base_layers: int = 2
    shape_layers: int = 3
    texture_layers: int = 3
    octaves: int = 6
    feature_width: int = 96
    width_64: int = 80
    width_128: int = 48
    width_256: int = 8

    @classmethod
    def tiny(cls) -> "GeneratorConfig":
        """The same graph at the smallest widths, for tests."""
        return cls(8, 1, 1, 1, 2, 8, 8, 8, 4)


class PartLayer(nn.Module):
    """One modulated 1x1 layer of all part generators at once.

    Activations are scaled, not weights, so the weights stay constants and the gradient needs no
    pass over
    them: ``y_o = d_o sum_i W_oi s_i x_i + b_o`` with ``d_o = (sum_i (W_oi s_i)^2 + 1e-8)^-1/2`` and
    ``s = 1 + A w_semantic + B w_high`` (method of StyleGAN2; B starts at zero).
    """

    reach: Tensor

    def __init__(self, parts: int, width: int, latent: int, attributes: tuple[str, ...]) -> None:
        """``attributes``: the high-level codes that this layer listens to."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(parts, width, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(parts, width, 1, 1))
        self.affine = nn.Parameter(torch.randn(parts, width, latent) / math.sqrt(latent) * 0.3)
        self.affine_high = nn.Parameter(torch.zeros(parts, width, _HIGH * latent))
        reach = torch.tensor([float(name in attributes) for name in contract.HIGH_LEVEL])
        reach = reach.repeat_interleave(latent).expand(parts, 1, -1).clone()
        reach[0] = 0  # the background never depends on who stands before it
        self.register_buffer("reach", reach, persistent=False)

    def forward(self, x: Tensor, semantic: Tensor, high: Tensor) -> Tensor:
        """X [k, c, n, p], semantic codes [k, d, n], high-level codes [4 d, n] -> [k, c, n, p]."""
        k, c, n, p = x.shape
        style = 1 + torch.matmul(self.affine, semantic)
        style = style + torch.matmul(self.affine_high * self.reach, high)
        demodulation = torch.rsqrt(torch.matmul(self.weight.square(), style.square()) + 1e-8)
        y = torch.matmul(self.weight, (x * style[..., None]).reshape(k, c, n * p))
        return activate(
            y.reshape(k, c, n, p) * demodulation.to(y.dtype)[..., None] + self.bias.to(y.dtype)
        )


class Generator(nn.Module):
    """Latents [n, 32, 64] -> image, segmentation logits, pseudo-depths (see ``vera.contract``)."""

    position: Tensor
    select: Tensor
    opaque: Tensor
    has_depth: Tensor

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.config = cfg = config or GeneratorConfig()
        k, d, width = contract.CLASS_COUNT, contract.LATENT_WIDTH, cfg.part_width
        self.register_buffer("position", _fourier(cfg.octaves), persistent=False)
        self.register_buffer("select", _row_table(cfg), persistent=False)
        opaque = [float(name not in _TRANSPARENT) for name in contract.CLASSES]
        self.register_buffer("opaque", torch.tensor(opaque)[:, None, None], persistent=False)
        has_depth = torch.ones(k, 1, 1)
        has_depth[0] = 0  # the background's pseudo-depth is the constant 0
        self.register_buffer("has_depth", has_depth, persistent=False)
        inputs = self.position.shape[0]
        self.embed = nn.Parameter(torch.randn(width, inputs) / math.sqrt(inputs))
        shape_reach: tuple[str, ...] = contract.HIGH_LEVEL
        texture_reach: tuple[str, ...] = ("identity", "expression", "age")
        reach: list[tuple[str, ...]] = [shape_reach] * (cfg.base_layers + cfg.shape_layers)
        reach += [texture_reach] * cfg.texture_layers
        self.layers = nn.ModuleList(PartLayer(k, width, d, names) for names in reach)
        self.depth = nn.Parameter(torch.randn(k, 1, width) / math.sqrt(width))
        self.depth_bias = nn.Parameter(torch.zeros(k, 1, 1))
        f = cfg.feature_width
        self.fuse = nn.Parameter(torch.randn(f, k * width) / math.sqrt(2 * width))
        self.fuse_bias = nn.Parameter(torch.zeros(f, k))
        self.context = nn.Sequential(Conv(f, f), Conv(f, f), UpConv(f, f))
        self.entry = Conv(f, f)
        self.conv_32 = Conv(f, f)
        self.up_64, self.conv_64 = UpConv(f, cfg.width_64), Conv(cfg.width_64, cfg.width_64)
        self.up_128, self.conv_128 = (
            UpConv(cfg.width_64, cfg.width_128),
            Conv(cfg.width_128, cfg.width_128),
        )
        self.rgb_64 = nn.Conv2d(cfg.width_64, 3, 1)
        self.rgb_128 = nn.Conv2d(cfg.width_128, 3, 1)
        self.up_256 = UpConv(cfg.width_128, cfg.width_256)
        self.rgb_256 = nn.Conv2d(cfg.width_256, 3, 3, padding=1)  # over pixels: mixes the phases
        nn.init.normal_(self.rgb_256.weight, std=0.1 / math.sqrt(9 * cfg.width_256))
        self.part_64 = nn.Conv2d(cfg.width_64, k, 1)
        self.part_128 = nn.Conv2d(cfg.width_128, k, 1)
        self.enlarge_32, self.enlarge_64, self.enlarge_128 = (
            Upsample(32),
            Upsample(64),
            Upsample(128),
        )

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Renders ``latent``.

        Returns:
            image [n, 3, 256, 256] in about [-1, 1] (not clamped), segmentation logits [n, 13, 128,
            128] and pseudo-depths [n, 13, 32, 32], whose softmax gives the coarse masks.
        """
        depth, features = self.parts(latent)
        image, segmentation = self.render(features, depth)
        return image, segmentation, depth

    def parts(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Part generators and fusion: pseudo-depths [n, k, 32, 32] and features [n, f, 32, 32]."""
        cfg, k, side = self.config, contract.CLASS_COUNT, contract.COARSE_SIZE
        n, points = latent.shape[0], side * side
        # A product with a constant 0/1 table instead of indexing: its gradient is a product too.
        codes = torch.matmul(
            self.select, latent.reshape(n, latent.shape[1], -1)
        )  # [n, layers * k, d]
        codes = codes.reshape(n, len(self.layers), k, -1).permute(1, 2, 3, 0)  # [layers, k, d, n]
        high = latent[:, -_HIGH:].reshape(n, -1).T
        x = torch.matmul(self.embed, self.position)[None, :, None].expand(k, -1, n, -1)
        depth = x
        for i, layer in enumerate(self.layers):
            x = layer(x, codes[i], high)
            if i == cfg.base_layers + cfg.shape_layers - 1:
                depth = torch.matmul(self.depth, x.reshape(k, -1, n * points)) + self.depth_bias
                depth = (depth * self.has_depth).reshape(k, n, points)
        masks = torch.softmax(depth, 0)
        total = (masks * self.opaque).sum(0) + 1e-8
        weights = masks * (self.opaque / total + (1 - self.opaque))  # [k, n, p]
        fused = torch.matmul(self.fuse, (x * weights[:, None]).reshape(-1, n * points))
        fused = fused + torch.matmul(self.fuse_bias, weights.reshape(k, n * points))
        features = fused.reshape(-1, n, side, side).permute(1, 0, 2, 3)
        return depth.permute(1, 0, 2).reshape(n, k, side, side), features

    def render(self, features: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Render net: features [n, f, 32, 32] and depths -> image and segmentation logits."""
        x = self.conv_32(self.entry(features) + self.context(mean_pool(features)))
        x = self.conv_64(self.up_64(x))
        rgb, parts = self.rgb_64(x), self.enlarge_32(depth) + self.part_64(x)
        x = self.conv_128(self.up_128(x))
        rgb = self.enlarge_64(rgb) + self.rgb_128(x)
        parts = self.enlarge_64(parts) + self.part_128(x)
        return self.enlarge_128(rgb) + self.rgb_256(self.up_256(x)), parts

    @classmethod
    def load(cls, path: Path, config: GeneratorConfig | None = None) -> "Generator":
        """Reads a safetensors file strictly."""
        from safetensors.torch import load_file

        model = cls(config)
        model.load_state_dict(load_file(path))
        return model.eval()


def _fourier(octaves: int) -> Tensor:
    """Coordinates and their Fourier features on the coarse grid, [2 + 4 octaves, 1024]."""
    line = torch.linspace(-1, 1, contract.COARSE_SIZE)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij")).reshape(2, -1)
    waves = 2.0 ** torch.arange(octaves)[:, None, None] * grid[None] * 1.5
    return torch.cat([grid, waves.sin().flatten(0, 1), waves.cos().flatten(0, 1)])


def _row_table(cfg: GeneratorConfig) -> Tensor:
    """0/1 table [layers * k, rows]: which latent row drives which layer of which part."""
    rows = []
    for layer in range(cfg.base_layers + cfg.shape_layers + cfg.texture_layers):
        for part in range(contract.CLASS_COUNT):
            if layer >= cfg.base_layers + cfg.shape_layers:
                rows.append(contract.texture_row(part))
            elif layer < cfg.base_layers and part != 0:
                rows.append(contract.COARSE_ROWS[min(layer, 1)])
            else:
                rows.append(contract.shape_row(part))
    return nn.functional.one_hot(torch.tensor(rows), contract.LATENT_ROWS).float()
