"""The command ``vera-export``: train networks, export them, check them, and write bundles."""

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vera.errors import UsageError, VeraError
from vera_export.convert.command import add_convert
from vera_export.evaluation.command import add_evaluate
from vera_export.repository.command import add_repository

TRAININGS = (
    "detector",
    "parser",
    "embedder",
    "attributes",
    "perceptual",
    "generator",
    "adversarial",
    "refiner",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``vera-export``; returns the exit code: 0 done, 1 an error of ours, 2 usage."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        code: int = arguments.run(arguments)
        return code
    except VeraError as error:
        if arguments.debug:
            raise
        print(f"vera-export: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vera-export",
        description="Train the networks, export them as engines, and write bundles.",
        epilog="example: vera-export bundle --weights weights --identities bank.npz --out bundle",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_bundle(commands)
    _add_train(commands)
    _add_carried(commands)
    _add_pack(commands)
    onnx = commands.add_parser(
        "onnx", help="export engines without a bundle, compared with their networks"
    )
    onnx.add_argument("--weights", type=Path, required=True, help="folder of <name>.safetensors")
    onnx.add_argument(
        "--out", type=Path, required=True, help="folder for the engines and their shared weights"
    )
    onnx.set_defaults(run=_onnx)
    parity = commands.add_parser(
        "parity", help="compare the engines of a bundle with their networks again"
    )
    parity.add_argument("bundle", type=Path, help="folder of the bundle")
    parity.add_argument(
        "--weights", type=Path, required=True, help="folder of <name>.safetensors it was made of"
    )
    parity.set_defaults(run=_parity)
    bank = commands.add_parser("identities", help="write the bank of synthetic people")
    people = bank.add_mutually_exclusive_group(required=True)
    people.add_argument("--data", type=Path, help="folder of aligned training faces")
    people.add_argument(
        "--samples", type=int, help="instead: so many samples of a converted generator"
    )
    bank.add_argument("--weights", type=Path, required=True, help="folder of <name>.safetensors")
    bank.add_argument("--out", type=Path, required=True, help="file to write, .npz")
    bank.set_defaults(run=_identities)
    gate = commands.add_parser("calibrate", help="read the gate's threshold from different people")
    gate.add_argument("photographs", type=Path, help="folder of photographs and landmarks.json")
    gate.add_argument("--weights", type=Path, required=True, help="folder of embedder.safetensors")
    gate.add_argument(
        "--false-accept-rate", type=float, default=0.01, help="(default: %(default)s)"
    )
    gate.set_defaults(run=_calibrate)
    add_convert(commands)
    add_evaluate(commands)
    add_repository(commands)
    return parser


def _add_bundle(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bundle = commands.add_parser("bundle", help="export every engine, compare, and write a bundle")
    source = bundle.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--weights", type=Path, help="folder of <name>.safetensors of every network"
    )
    source.add_argument(
        "--random", choices=("default", "tiny"), help="untrained networks instead; never ship these"
    )
    bundle.add_argument(
        "--identities", type=Path, required=True, help="bank of synthetic people, .npz"
    )
    bundle.add_argument(
        "--out", type=Path, required=True, help="folder of the bundle; replaced when complete"
    )
    bundle.add_argument(
        "--name", default="vera-synthetic", help="name of the release (default: %(default)s)"
    )
    bundle.add_argument(
        "--version", default="0.1.0", help="version of the release (default: %(default)s)"
    )
    bundle.add_argument(
        "--threshold", type=float, help="cosine of the gate, from vera-export calibrate"
    )
    bundle.add_argument(
        "--false-accept-rate",
        type=float,
        help="at that cosine",
    )
    bundle.add_argument("--calibration", help="where both come from, a sentence")
    bundle.add_argument(
        "--provenance", type=Path, help="JSON file added to the manifest's provenance"
    )
    bundle.set_defaults(run=_bundle)


def _add_carried(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    checkpoint = commands.add_parser(
        "checkpoint", help="write weights as a checkpoint that a timed run resumes from"
    )
    checkpoint.add_argument(
        "--weights", type=Path, required=True, help="folder of <name>.safetensors"
    )
    checkpoint.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    checkpoint.set_defaults(run=_checkpoint)
    weights = commands.add_parser(
        "weights", help="write a checkpoint's averaged networks as weights"
    )
    weights.add_argument(
        "--checkpoint", type=Path, required=True, help="folder that a timed run wrote"
    )
    weights.add_argument("--out", type=Path, required=True, help="folder of <name>.safetensors")
    weights.set_defaults(run=_weights)


def _add_pack(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    pack = commands.add_parser(
        "pack", help="write training data and teachers as one file for a timed run"
    )
    pack.add_argument("--data", type=Path, required=True, help="folder of aligned training faces")
    pack.add_argument("--teachers", type=Path, required=True, help="folder of teacher networks")
    pack.add_argument(
        "--out", type=Path, required=True, help="file to write, or a folder for faces.pack"
    )
    pack.add_argument(
        "--limit-mib", type=float, default=45.0, help="largest size (default: %(default)s)"
    )
    pack.set_defaults(run=_pack)


def _add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train a network")
    train.add_argument("name", choices=TRAININGS, help="which recipe")
    train.add_argument("--data", type=Path, required=True, help="folder of aligned training faces")
    train.add_argument("--teachers", type=Path, required=True, help="folder of teacher networks")
    train.add_argument("--out", type=Path, required=True, help="folder for weights and metrics")
    train.add_argument("--minutes", type=float, required=True, help="wall-clock budget")
    train.add_argument(
        "--seed", type=int, default=0, help="of every random draw (default: %(default)s)"
    )
    train.add_argument(
        "--preset",
        choices=("default", "tiny"),
        default="default",
        help="size (default: %(default)s)",
    )
    train.add_argument("--resume", type=Path, help="training weights to start from")
    train.add_argument("--recipe", help="generator only: reconstruction, adversarial, gpu, ...")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="generator only: change the recipe, contrast=0 leaves the contrast out",
    )
    train.set_defaults(run=_train)


def _bundle(arguments: argparse.Namespace) -> int:
    from vera_export.bundle import Gate, Release, build_bundle, write_bundle
    from vera_export.registry import random_networks

    settings = (arguments.threshold, arguments.false_accept_rate, arguments.calibration)
    if arguments.weights and None in settings:
        raise UsageError(
            "A bundle needs --threshold, --false-accept-rate and --calibration, got not all three; "
            "read them from vera-export calibrate."
        )
    gate = Gate(settings[0] or 0.4, settings[1] or 0.0, settings[2] or "not calibrated")
    provenance = (
        json.loads(arguments.provenance.read_text(encoding="utf-8")) if arguments.provenance else {}
    )
    release = Release(arguments.name, arguments.version, gate, provenance=provenance)
    if arguments.random:
        note = {"note": "random weights: for measurements only"}
        manifest = write_bundle(
            random_networks(arguments.random), arguments.out, release, arguments.identities, note
        )
    else:
        manifest = build_bundle(arguments.weights, arguments.out, release, arguments.identities)
    for name, engine in manifest["engines"].items():
        print(f"{name:20s} {_worst(engine['parity']):7.2%} of the tolerance used")
    total = sum(entry["bytes"] for entry in manifest["files"].values())
    print(f"{arguments.out}: {total / 1e6:.1f} MB")
    return 0


def _onnx(arguments: argparse.Namespace) -> int:
    from vera_export.bundle import WEIGHTS, check_bundle, export_networks
    from vera_export.registry import load_networks
    from vera_export.storage import share

    networks = load_networks(arguments.weights)
    exported = export_networks(networks)
    arguments.out.mkdir(parents=True, exist_ok=True)
    share(exported.models, arguments.out, WEIGHTS)
    _print_parity(check_bundle(arguments.out, networks, exported.pair))
    return 0


def _parity(arguments: argparse.Namespace) -> int:
    from vera.bundle import load_bundle
    from vera_export.bundle import check_bundle, export_networks
    from vera_export.registry import load_networks

    networks = load_networks(arguments.weights)
    bundle = load_bundle(arguments.bundle)
    _print_parity(check_bundle(bundle.folder, networks, export_networks(networks).pair))
    return 0


def _identities(arguments: argparse.Namespace) -> int:
    if arguments.samples is not None:
        from vera_export.mapped import build_mapped_identities

        found = build_mapped_identities(arguments.weights, arguments.out, arguments.samples)
    else:
        from vera_export.identities import build_identities

        found = build_identities(arguments.data, arguments.weights, arguments.out)
    print(json.dumps(found))
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    from vera_export.calibrate import calibrate

    found = calibrate(arguments.photographs, arguments.weights, arguments.false_accept_rate)
    print(json.dumps(asdict(found)))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    training = importlib.import_module(f"vera_export.training.{arguments.name}")
    only = {}
    if arguments.name == "generator":
        from vera_export.training.recipe import parse_settings

        only = {"recipe": arguments.recipe, "settings": parse_settings(arguments.set)}
    elif arguments.recipe or arguments.set:
        raise UsageError(
            f"--recipe and --set are for the generator, got {arguments.name}; leave them out."
        )
    summary = training.train(
        data=arguments.data,
        teachers=arguments.teachers,
        out=arguments.out,
        minutes=arguments.minutes,
        seed=arguments.seed,
        preset=arguments.preset,
        resume=arguments.resume,
        **only,
    )
    print(json.dumps(summary, indent=1, default=str))
    return 0


def _checkpoint(arguments: argparse.Namespace) -> int:
    from vera_export.training.carried import pack_weights

    print(json.dumps(pack_weights(arguments.weights, arguments.out)))
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from vera_export.training.pack import write_pack

    limit = int(arguments.limit_mib * 2**20)
    print(json.dumps(write_pack(arguments.data, arguments.teachers, arguments.out, limit)))
    return 0


def _weights(arguments: argparse.Namespace) -> int:
    from vera_export.training.carried import unpack_weights

    print(json.dumps(unpack_weights(arguments.checkpoint, arguments.out)))
    return 0


def _print_parity(figures: dict[str, object]) -> None:
    for name, figure in figures.items():
        print(f"{name:20s} {_worst(figure):7.2%} of the tolerance used")


def _worst(figure: object) -> float:
    """Largest share of the tolerance in a nested table of figures."""
    if not isinstance(figure, dict):
        return 0.0
    return max([float(figure.get("share", 0.0)), *(_worst(value) for value in figure.values())])


if __name__ == "__main__":
    sys.exit(main())
