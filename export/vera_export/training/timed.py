"""A run of the generator's training that fits a lent machine: one file of data, a time limit.

Needs a source checkout, torch, NumPy and Pillow; nothing is installed or compiled::

    PYTHONPATH=runtime:export python -m vera_export.training.timed --data DIR --minutes 25 --out DIR

``--data`` is what ``vera-export pack`` wrote. ``--resume`` is a checkpoint of an earlier run or of
``vera-export checkpoint``; its files are small enough to be carried. Where a single command may run
for less than the whole schedule, ``--stop-after`` ends it early and ``--resume`` goes on with it.
``vera-export weights`` turns the checkpoint in ``--out`` into weights for a bundle.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera.errors import UsageError, VeraError
from vera_export.models.attributes import Attributes, AttributesConfig
from vera_export.training.batches import Batches
from vera_export.training.checkpoint import read_checkpoint
from vera_export.training.generator import (
    attributes_state,
    build_adversaries,
    build_contrast,
    carried_attributes,
    choose,
    continued,
    run,
)
from vera_export.training.networks import Networks
from vera_export.training.packed import Pack, read_pack
from vera_export.training.recipe import Recipe, parse_settings
from vera_export.training.teacher_graph import PERCEPTUAL, RECOGNISER
from vera_export.training.trainer import Critics, Trainer


@dataclass(frozen=True)
class Options:
    """What a timed run does.

    Attributes:
        preset: Size of the networks, ``default`` or ``tiny``.
        recipe: One of ``RECIPES``; None takes ``gpu``, or ``smoke`` with the tiny preset.
        settings: Numbers of the recipe to change, as text.
        seed: Of every random draw.
        resume: Folder of a checkpoint.
        stop_after: Minutes after which this call ends though the schedule does not.
        device: ``cuda`` or ``cpu``; None takes what there is.
    """

    preset: str = "default"
    recipe: str | None = None
    settings: dict[str, str] | None = None
    seed: int = 0
    resume: Path | None = None
    stop_after: float | None = None
    device: str | None = None


def train_timed(data: Path, out: Path, minutes: float, options: Options) -> dict[str, Any]:
    """Trains from a pack until ``minutes`` are over.

    Args:
        data: Folder of ``vera-export pack``.
        out: Receives the checkpoint, ``samples.png``, ``curves.jsonl`` and ``summary.json``.
        minutes: Length of the whole schedule; reading and writing come on top.
        options: The rest.

    Returns:
        The summary, as written.

    Raises:
        UsageError: The pack, the checkpoint or the recipe cannot be used.
    """
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = options.recipe or ("smoke" if options.preset == "tiny" else "gpu")
    recipe = choose(name, options.settings)
    torch.backends.cudnn.benchmark = True
    pack = read_pack(data)
    tensors, before = read_checkpoint(options.resume) if options.resume else ({}, {})
    seed = options.seed + int(before.get("steps", 0))  # a part of a schedule draws its own batches
    torch.manual_seed(seed)
    batches = Batches(pack, seed, device)
    nets = Networks(options.preset).to(device)
    critics = _critics(pack, batches, recipe, tensors, before, options)
    trainer = Trainer(nets, critics, batches, recipe)
    loaded = trainer.load(tensors)
    before = continued(trainer, before, name)
    summary: dict[str, Any] = {
        "recipe": name,
        "settings": asdict(recipe),
        "minutes": minutes,
        "seed": options.seed,
        "preset": options.preset,
        "data": pack.faces.describe(),
        "resumed": loaded,
        "contrast": critics.contrast is not None,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor(),
        "torch": torch.__version__,
    }
    summary |= run(
        trainer,
        out,
        minutes,
        before=before,
        state={"recipe": name, **attributes_state(critics)},
        stop_after=options.stop_after,
        carried=True,
    )
    summary["images_seen"] = trainer.steps * recipe.batch
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _critics(
    pack: Pack,
    batches: Batches,
    recipe: Recipe,
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    options: Options,
) -> Critics:
    """Who judges the generator of this run."""
    perceptual = pack.teachers[PERCEPTUAL].to(batches.device)
    adversaries = build_adversaries(recipe, perceptual, batches.device)
    if not recipe.contrast:
        return Critics(perceptual, adversaries)
    attributes = carried_attributes(tensors, state)
    if attributes is None and options.preset == "tiny":
        attributes = Attributes(AttributesConfig.tiny())
    if attributes is None:
        raise UsageError(
            "The contrast needs the attribute network in the checkpoint to resume from, got none; "
            "write it with vera-export checkpoint, or pass --set contrast=0."
        )
    contrast = build_contrast(
        pack.teachers[RECOGNISER], attributes, batches, options.seed, options.preset
    )
    return Critics(perceptual, adversaries, contrast)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vera_export.training.timed",
        description="Train the generator from a pack for a given time.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of vera-export pack")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--minutes", type=float, required=True, help="length of the schedule")
    parser.add_argument("--stop-after", type=float, help="minutes after which this call ends")
    parser.add_argument("--resume", type=Path, help="folder of a checkpoint to go on from")
    parser.add_argument(
        "--preset", choices=("default", "tiny"), default="default", help="size of the networks"
    )
    parser.add_argument("--recipe", help="gpu unless given; smoke with the tiny preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=NUMBER", help="change the recipe"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random draw")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="(default: what there is)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0 done, 1 an error of ours, 2 usage."""
    arguments = _parser().parse_args(argv)
    try:
        options = Options(
            preset=arguments.preset,
            recipe=arguments.recipe,
            settings=parse_settings(arguments.set),
            seed=arguments.seed,
            resume=arguments.resume,
            stop_after=arguments.stop_after,
            device=arguments.device,
        )
        summary = train_timed(arguments.data, arguments.out, arguments.minutes, options)
    except VeraError as error:
        if arguments.debug:
            raise
        print(f"timed: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(summary, indent=1))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
