"""State dicts in the public layouts with random weights: for tests and measurements only."""

import argparse
import math

import torch
from torch import Tensor

from vera_export.convert.semantic import key_shapes
from vera_export.models.public_generator import PublicGeneratorConfig


def random_generator_state(
    config: PublicGeneratorConfig | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """A ``g_ema`` as a training begins it, but with gains, biases and noise that do something."""
    generator = torch.Generator().manual_seed(seed)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    fir = torch.outer(taps, taps) / 16
    state = {}
    for key, shape in key_shapes(config or PublicGeneratorConfig()).items():
        value = torch.randn(shape, generator=generator)
        if key.endswith("kernel"):
            value = fir.clone()
        elif key.endswith((".modulation", "modulation.bias")):
            value = 1 + 0.1 * value
        elif key.endswith(("bias", "noise.weight")):
            value = 0.1 * value
        elif key.startswith("style.") and key.endswith("weight"):
            value = 100 * value  # the layers' learning-rate factor divides it again
        state[key] = value
    return state


def random_checkpoint(
    config: PublicGeneratorConfig | None = None, seed: int = 0
) -> dict[str, object]:
    """A training checkpoint around :func:`random_generator_state`: ``g_ema`` and ``args``."""
    cfg = config or PublicGeneratorConfig()
    arguments = argparse.Namespace(
        size=cfg.size,
        latent=cfg.latent_width,
        base_layers=cfg.base_layers,
        depth_layers=cfg.base_layers + cfg.shape_layers,
        local_layers=cfg.layers,
        coarse_size=cfg.coarse,
        min_feat_size=cfg.entry,
        residual_refine=cfg.residual,
        transparent_dims=list(cfg.transparent),
    )
    return {"g_ema": random_generator_state(cfg, seed), "args": arguments}


def random_like(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Tensors of these shapes at the scale of a fresh network; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            value = value * math.sqrt(2 / math.prod(shape[1:]))
        elif key.endswith(("running_var", "bn.weight", "bn_atten.weight")):
            value = 1 + 0.1 * value.abs()
        else:
            value = 0.1 * value
        state[key] = value if shape else torch.zeros(shape, dtype=torch.int64)
    return state
