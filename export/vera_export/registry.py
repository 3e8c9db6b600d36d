"""The networks of a bundle: one line each, from a folder of weights or at random."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vera.errors import VeraError
from vera_export.models import attributes, detector, embedder, parser, perceptual
from vera_export.models.attributes import Attributes, AttributesConfig
from vera_export.models.detector import Detector, DetectorConfig
from vera_export.models.embedder import Embedder, EmbedderConfig
from vera_export.models.encoder import Encoder, EncoderConfig
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.parser import Parser, ParserConfig
from vera_export.models.perceptual import Perceptual, PerceptualConfig


@dataclass(frozen=True)
class Entry:
    """How to get a network.

    Attributes:
        load: From its safetensors file; batch norm is folded when the file is written.
        default: At random, in the size that ships.
        tiny: At random, in the smallest size, for tests.
    """

    load: Callable[[Path], nn.Module]
    default: Callable[[], nn.Module]
    tiny: Callable[[], nn.Module]


NETWORKS = {
    "detector": Entry(detector.load, Detector, lambda: Detector(DetectorConfig.tiny())),
    "parser": Entry(parser.load, Parser, lambda: Parser(ParserConfig.tiny())),
    "embedder": Entry(embedder.load, Embedder, lambda: Embedder(EmbedderConfig.tiny())),
    "attributes": Entry(attributes.load, Attributes, lambda: Attributes(AttributesConfig.tiny())),
    "encoder": Entry(Encoder.load, Encoder, lambda: Encoder(EncoderConfig.tiny())),
    "perceptual": Entry(perceptual.load, Perceptual, lambda: Perceptual(PerceptualConfig.tiny())),
    "generator": Entry(Generator.load, Generator, lambda: Generator(GeneratorConfig.tiny())),
}


def load_networks(weights: Path) -> dict[str, nn.Module]:
    """Every network from ``weights/<name>.safetensors``, in eval mode.

    Raises:
        VeraError: A file is missing or does not fit its network.
    """
    networks = {}
    for name, entry in NETWORKS.items():
        path = weights / f"{name}.safetensors"
        if not path.is_file():
            raise VeraError(
                f"The weights of {name} are missing: {path} does not exist; train {name} first."
            )
        try:
            networks[name] = entry.load(path).eval()
        except (RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
            raise VeraError(
                f"{path} does not hold the weights of {name} ({error}); train {name} again."
            ) from error
    return networks


def random_networks(preset: str, seed: int = 0) -> dict[str, nn.Module]:
    """Untrained networks of preset ``default`` or ``tiny``: for tests and measurements only."""
    state = torch.random.get_rng_state()
    networks = {}
    try:
        for name, entry in NETWORKS.items():
            torch.manual_seed(seed)  # each alone: no network changes because another did
            networks[name] = getattr(entry, preset)().eval()
        for parameter_name, parameter in networks["generator"].named_parameters():
            if parameter_name.endswith(("affine_high", "bias")):  # zero would test nothing
                nn.init.normal_(parameter, std=0.05)
    finally:
        torch.random.set_rng_state(state)
    return networks
