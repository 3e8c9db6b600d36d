"""Training of the generator with its encoder and mapping: reconstruction, adversary, contrast.

Encoder and generator learn together to reproduce synthetic faces; high-level rows come half of the
time from the mapping of measured attributes, so that these rows carry the attributes. A recipe
(:mod:`recipe`) says which further losses take part: adversarial ones (:mod:`adversarial`,
:mod:`projected`) and the contrast of high-level codes (:mod:`contrast`).
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vera.errors import UsageError
from vera_export.models.attributes import Attributes, AttributesConfig
from vera_export.models.discriminator import Discriminator
from vera_export.training.adversarial import Adversary, Judge
from vera_export.training.batches import Batches
from vera_export.training.checkpoint import (
    gathered,
    is_checkpoint,
    read_checkpoint,
    scatter,
    write_checkpoint,
)
from vera_export.training.contrast import Contrast, ContrastConfig, Encoders
from vera_export.training.curves import Curves
from vera_export.training.networks import Networks, load_folder, write_folder
from vera_export.training.projected import ProjectedJudge
from vera_export.training.recipe import RECIPES, Recipe, overridden
from vera_export.training.samples import sample_grid
from vera_export.training.teacher_graph import PERCEPTUAL, RECOGNISER
from vera_export.training.trainer import Critics, Trainer, equalise

SAVE_EVERY_S = 240.0
REPORT_EVERY = 25


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
    recipe: str | None = None,
    settings: dict[str, str] | None = None,
) -> dict[str, object]:
    """Trains generator, encoder and mapping for ``minutes`` and writes their weights to ``out``.

    Args:
        data: Folder of aligned faces with labels, landmarks and embeddings.
        teachers: Folder of teacher networks; the perceptual one and the recogniser are used.
        out: Receives generator, encoder and mapping ``.safetensors``, a checkpoint, samples,
            curves and a JSON summary.
        minutes: Wall-clock budget; the learning-rate schedule is a function of it.
        seed: Of every random draw.
        preset: ``default`` or ``tiny``.
        resume: Folder of a checkpoint, or of the three networks; the contrast also needs the
            attribute network there.
        recipe: One of ``RECIPES``; None takes ``reconstruction``, or ``continued`` on a resume.
        settings: Numbers of the recipe to change, as text.

    Raises:
        UsageError: A recipe, setting or file does not exist.
    """
    from vera_export.training.teachers import Differentiable

    name = recipe or ("reconstruction" if resume is None else "continued")
    chosen = choose(name, settings)
    carried = resume is not None and is_checkpoint(resume)
    tensors, before = read_checkpoint(resume) if resume is not None and carried else ({}, {})
    own = seed + int(before.get("steps", 0))  # a part of a schedule draws its own batches
    torch.manual_seed(own)
    batches = Batches(data, own)
    nets = Networks(preset).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    perceptual = Differentiable(teachers / f"{PERCEPTUAL}.onnx", outputs=5)
    contrast = None
    if chosen.contrast:
        recogniser = Differentiable(teachers / f"{RECOGNISER}.onnx")
        found = _attributes(resume, tensors, before)
        contrast = build_contrast(recogniser, found, batches, seed, preset)
    adversaries = build_adversaries(chosen, perceptual, batches.device)
    trainer = Trainer(nets, Critics(perceptual, adversaries, contrast), batches, chosen)
    if carried:
        trainer.load(tensors)
        before = continued(trainer, before, name)
    elif resume is not None:
        load_folder(trainer.nets, resume)
        equalise(trainer.nets)
        trainer.averaged.load_state_dict(trainer.nets.state_dict())
    state = {"recipe": name, **attributes_state(trainer.critics)}
    summary: dict[str, object] = {"recipe": name, "settings": asdict(chosen), "minutes": minutes}
    summary |= {"seed": seed, "data": batches.faces.describe()}
    if contrast is not None:
        summary["margins"] = {k: asdict(m) for k, m in contrast.margins.items()}
    summary |= run(trainer, out, minutes, before=before, state=state)
    summary["images_seen"] = trainer.steps * chosen.batch
    (out / "generator.json").write_text(json.dumps(summary, indent=1))
    return summary


def choose(name: str, settings: dict[str, str] | None) -> Recipe:
    """The recipe ``name`` with changed settings.

    Raises:
        UsageError: There is no such recipe or setting.
    """
    if name not in RECIPES:
        raise UsageError(f"There is no recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    return overridden(RECIPES[name], settings or {})


def build_adversaries(recipe: Recipe, perceptual: nn.Module, device: str) -> tuple[Adversary, ...]:
    """The discriminators that ``recipe`` gives a weight."""
    found: list[Adversary] = []
    if recipe.adversarial:
        found.append(Judge(Discriminator(recipe.discriminator).to(device), recipe))
    if recipe.projected:
        found.append(ProjectedJudge(perceptual, recipe, device))
    return tuple(found)


def continued(trainer: Trainer, state: dict[str, Any], recipe: str) -> dict[str, Any]:
    """The state that a run goes on from: nothing if another recipe wrote it."""
    if state.get("recipe") != recipe:
        return {}
    trainer.go_on(state)
    return state


def run(
    trainer: Trainer,
    out: Path,
    minutes: float,
    *,
    before: dict[str, Any],
    state: dict[str, Any],
    stop_after: float | None = None,
    carried: bool = False,
) -> dict[str, Any]:
    """Trains until ``minutes`` are over, writing checkpoints, weights, samples and curves.

    Args:
        trainer: The run.
        out: Receives ``checkpoint.json`` with its archives, averaged networks, ``samples_*.png``
            and ``curves.jsonl``.
        minutes: Length of the whole schedule.
        before: State of the checkpoint that the run goes on from: its seconds count.
        state: What else belongs into the checkpoint's state.
        stop_after: Minutes after which this call ends though the schedule does not.
        carried: The results are to be carried elsewhere: few files, NumPy archives only.

    Returns:
        Steps, seconds and the last row of the curves.

    Raises:
        UsageError: The schedule is over already.
    """
    done = float(before.get("seconds", 0.0))
    if done >= minutes * 60:
        raise UsageError(
            f"The schedule of {minutes:g} minutes is over ({done / 60:.1f}); pass more --minutes."
        )
    curves = Curves(out, events=not carried)
    start = saved = time.monotonic()
    limit = min(minutes * 60, done + (stop_after or minutes) * 60)

    def seconds() -> float:
        return done + time.monotonic() - start

    def save() -> None:
        now = {**state, **trainer.state(), "seconds": round(seconds(), 1)}
        write_checkpoint(out, gathered(trainer.modules()), now)
        if not carried:
            write_folder(trainer.averaged, out)
        name = "samples.png" if carried else f"samples_{trainer.steps:06d}.png"
        sample_grid(trainer.averaged, trainer.batches, out / name)

    while seconds() < limit:
        terms = trainer.step(seconds() / (minutes * 60))
        over = seconds() >= limit
        if over or trainer.steps % REPORT_EVERY == 0:
            values = {name: float(value) for name, value in terms.items()}
            for name, probability in trainer.state()["augmentation"].items():
                values[f"augmentation_{name}"] = probability
            counts = {"seconds": round(seconds()), "skipped": trainer.skipped}
            curves.write(trainer.steps, {**counts, **values})
        if not over and time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            save()
    save()
    curves.close()
    return {"steps": trainer.steps, "seconds": round(seconds(), 1), "last": curves.last}


def build_contrast(
    recogniser: nn.Module, attributes: Attributes, batches: Batches, seed: int, preset: str
) -> Contrast:
    """A calibrated contrast on the device of ``batches``."""
    config = ContrastConfig.tiny() if preset == "tiny" else None
    contrast = Contrast(Encoders(recogniser, attributes).to(batches.device), config)
    contrast.calibrate(batches, seed)
    return contrast


def carried_attributes(tensors: dict[str, Tensor], state: dict[str, Any]) -> Attributes | None:
    """The attribute network of a checkpoint, in eval mode; None if it holds none."""
    if not state.get("attributes"):
        return None
    model = Attributes(AttributesConfig(tuple(state["attributes"])))
    return model.eval() if scatter(tensors, {"attributes": model}) else None


def attributes_state(critics: Critics) -> dict[str, Any]:
    """What a checkpoint's state says of the attribute network among its weights."""
    if critics.contrast is None:
        return {}
    return {"attributes": list(critics.contrast.encoders.attributes.config.widths)}


def _attributes(
    resume: Path | None, tensors: dict[str, Tensor], state: dict[str, Any]
) -> Attributes:
    """The attribute network of the checkpoint, or of the folder beside it."""
    from vera_export.models import attributes

    if (found := carried_attributes(tensors, state)) is not None:
        return found
    path = Path() if resume is None else resume / "attributes.safetensors"
    if not path.is_file():
        raise UsageError(
            "The contrast needs attributes.safetensors in the folder to resume from, got none; put "
            "it there, or pass --set contrast=0."
        )
    return attributes.load(path)
