"""The networks of a bundle: one line each, from a folder of weights or at random."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from vera import contract
from vera.errors import VeraError
from vera_export.models import (
    attributes,
    bisenet,
    detector,
    embedder,
    onnx_network,
    parser,
    perceptual,
    public_generator,
    refiner,
    vgg,
)
from vera_export.models.attributes import Attributes, AttributesConfig
from vera_export.models.detector import Detector, DetectorConfig
from vera_export.models.embedder import Embedder, EmbedderConfig
from vera_export.models.encoder import Encoder, EncoderConfig
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.parser import Parser, ParserConfig
from vera_export.models.perceptual import Perceptual, PerceptualConfig
from vera_export.models.refiner import Refiner, RefinerConfig


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
    "refiner": Entry(refiner.load, Refiner, lambda: Refiner(RefinerConfig.tiny())),
}


# Converted public networks, by the architecture that their file's header names.
PUBLIC: dict[str, Callable[[Path], nn.Module]] = {
    public_generator.ARCHITECTURE: public_generator.load,
    bisenet.ARCHITECTURE: bisenet.load,
    vgg.ARCHITECTURE: vgg.load,
}


def load_networks(weights: Path) -> dict[str, nn.Module]:
    """Every network of ``weights`` (see :func:`load_network`); optional ones if there.

    Raises:
        VeraError: A file is missing or does not fit its network; VerA's own generator comes with
            an encoder.
    """
    present = [n for n in NETWORKS if n not in contract.OPTIONAL or _file(weights, n).is_file()]
    networks = {name: load_network(weights, name) for name in present}
    if isinstance(networks["generator"], Generator) and "encoder" not in networks:
        raise VeraError(
            f"{weights} has a generator and no encoder.safetensors, which is trained with it; "
            "copy it there."
        )
    return networks


def load_network(weights: Path, name: str) -> nn.Module:
    """A network from ``weights/<name>.safetensors`` or a converted ``<name>.onnx``, in eval mode.

    Raises:
        VeraError: The file is missing or does not fit the network.
    """
    path = _file(weights, name)
    if not path.is_file():
        raise VeraError(
            f"The weights of {name} are missing: {path} does not exist; train {name} first."
        )
    try:
        if path.suffix == ".onnx":
            return onnx_network.load_embedder(path).eval()
        with safe_open(path, framework="pt") as file:
            architecture = (file.metadata() or {}).get("architecture")
        return PUBLIC.get(architecture or "", NETWORKS[name].load)(path).eval()
    except (RuntimeError, KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise VeraError(
            f"{path} does not hold the weights of {name} ({error}); train {name} again."
        ) from error


def _file(weights: Path, name: str) -> Path:
    """The file of a network; only embedders come as ONNX."""
    graph = weights / f"{name}.onnx"
    return graph if name == "embedder" and graph.is_file() else weights / f"{name}.safetensors"


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
        nn.init.normal_(networks["refiner"].get_parameter("last.weight"), std=0.05)  # the same
    finally:
        torch.random.set_rng_state(state)
    return networks
