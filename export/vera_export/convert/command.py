"""The command ``vera-export convert``: public checkpoints into a folder of weights."""

import argparse
import json
import sys
from pathlib import Path

from vera.errors import UsageError


def add_convert(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command and its four kinds of network."""
    convert = commands.add_parser(
        "convert", help="turn public checkpoints into weights that vera-export bundle takes"
    )
    kinds = convert.add_subparsers(required=True, metavar="kind")
    generator = _kind(kinds, "generator", "SemanticStyleGAN's checkpoint (.pt)", _generator)
    generator.add_argument("--size", type=int, help="side of the picture; half is the early exit")
    parser = _kind(kinds, "parser", "a 19-class BiSeNet's state dict (.pth)", _parser)
    parser.add_argument(
        "--size", type=int, default=512, help="side of its crop (default: %(default)s)"
    )
    embedder = _kind(kinds, "embedder", "an ArcFace-type network (.onnx)", _embedder)
    embedder.add_argument(
        "--scale", type=float, default=1.0, help="it gets scale * x + offset, x in [-1, 1]"
    )
    embedder.add_argument("--offset", type=float, default=0.0, help="127.5 with scale 127.5: 0-255")
    embedder.add_argument("--bgr", action="store_true", help="it wants blue first")
    perceptual = _kind(kinds, "perceptual", "torchvision's VGG16 (.pth)", _perceptual)
    perceptual.add_argument(
        "--linear", type=Path, required=True, help="LPIPS v0.1's linear heads (vgg.pth)"
    )


def _kind(
    kinds: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    source: str,
    run: object,
) -> argparse.ArgumentParser:
    kind = kinds.add_parser(name, help=source)
    kind.add_argument("source", type=Path, help=source)
    kind.add_argument("--out", type=Path, required=True, help="folder of weights")
    kind.set_defaults(run=run)
    return kind


def _generator(arguments: argparse.Namespace) -> int:
    from vera_export.convert.semantic import convert_generator

    return _say(convert_generator(arguments.source, arguments.out, arguments.size))


def _parser(arguments: argparse.Namespace) -> int:
    from vera_export.convert.parser import convert_parser

    side = arguments.size
    if side < 64 or side & (side - 1):
        raise UsageError(f"--size must be a power of two from 64, got {side}; 512 is usual.")
    return _say(convert_parser(arguments.source, arguments.out, side))


def _embedder(arguments: argparse.Namespace) -> int:
    from vera_export.convert.embedder import EmbedderInput, convert_embedder

    wanted = EmbedderInput(arguments.scale, arguments.offset, arguments.bgr)
    return _say(convert_embedder(arguments.source, arguments.out, wanted))


def _perceptual(arguments: argparse.Namespace) -> int:
    from vera_export.convert.perceptual import convert_perceptual

    return _say(convert_perceptual(arguments.source, arguments.linear, arguments.out))


def _say(record: dict[str, object]) -> int:
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
    return 0
