"""Trains the refiner on composites made from real crops, see ``degradations``.

Targets are known at the crop's own side from all faces, and at twice the side from portraits, so
the loss has two scales: the output reduced by two against the crop, and the output itself against
the portrait. Two small critics, one per scale, ask for skin and hair instead of their mean.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera.errors import RefusedError, UsageError
from vera.pixels.align import to_image
from vera_export.models import parser
from vera_export.models.convolution import read_weights
from vera_export.models.encoder import Encoder, EncoderConfig
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.refiner import Refiner, RefinerConfig
from vera_export.training import augment
from vera_export.training.dataset import read_faces
from vera_export.training.degradations import Composite, Compositor, Crops, read_portraits
from vera_export.training.loop import Progress, Run, Schedule, optimise
from vera_export.training.reconstruction import feature_distance
from vera_export.training.refiner_losses import (
    Critics,
    Objective,
    RefinerRecipe,
    View,
    Windows,
    view_of,
    within,
)
from vera_export.training.teacher_graph import PERCEPTUAL
from vera_export.training.teachers import Differentiable

SIZE = contract.CROP_SIZE
GLANCE = 4  # composites of either kind judged at a checkpoint; the end judges all


PRESETS = {
    "default": (RefinerConfig(), RefinerRecipe()),
    "tiny": (RefinerConfig.tiny(), RefinerRecipe(2, 1, start=2, critics_from=1, max_steps=4)),
}


class Pool:
    """Composites of one kind; new ones push out old ones."""

    def __init__(self, crops: Crops, make: Compositor, size: int, start: int, seed: int) -> None:
        """Makes the first ``start`` of at most ``size``."""
        self._crops, self._make, self._size = crops, make, size
        self._draw = np.random.default_rng(seed)
        self._kept: list[Composite] = []
        self._next = 0
        for _ in range(start):
            self.renew()

    def renew(self) -> None:
        """Makes one composite; a crop without a clear face is passed over."""
        row = int(self._draw.integers(len(self._crops.images)))
        try:
            made = self._make(*self._crops.pick(row, self._draw), self._draw)
        except RefusedError:
            return
        if len(self._kept) < self._size:
            self._kept.append(made)
        else:
            self._kept[self._next % self._size] = made
            self._next += 1

    def windows(self, count: int, side: int) -> Windows:
        """``count`` windows of ``side`` crop pixels on the face, at random."""
        rows = []
        for k in self._draw.integers(len(self._kept), size=count):
            composite = self._kept[int(k)]
            middle = (SIZE - side) // 2
            top = middle + int(self._draw.integers(-24, 49))
            left = middle + int(self._draw.integers(-44, 45))
            top, left = (int(np.clip(v, 0, SIZE - side)) for v in (top, left))
            rows.append(_cut(composite, top, left, side))
        return stack(rows)


def _cut(composite: Composite, top: int, left: int, side: int) -> Composite:
    k = composite.target.shape[0] // SIZE
    box = slice(top, top + side), slice(left, left + side)
    fine = slice(k * top, k * (top + side)), slice(k * left, k * (left + side))
    return Composite(composite.image[box], composite.mask[box], composite.target[fine])


def stack(rows: list[Composite]) -> Windows:
    """Composites of one size as tensors."""
    image, target = (
        torch.from_numpy(augment.to_tensor_array(np.stack(x)))
        for x in ([r.image for r in rows], [r.target for r in rows])
    )
    mask = torch.from_numpy(np.stack([r.mask for r in rows]))[:, None]
    return Windows(image.to(memory_format=torch.channels_last), mask, target)


@torch.no_grad()
def evaluate(
    model: nn.Module, held_out: list[Composite], teacher: nn.Module | None
) -> dict[str, float]:
    """Input and output against the real crop, inside the mask, at the target's side.

    Returns:
        ``l1`` in grey levels, ``psnr`` in dB and ``perceptual`` (SqueezeNet distance, surroundings
        real), each for ``input`` (enlarged where the target is larger) and ``output``.
    """
    sums: dict[str, list[float]] = {}
    for composite in held_out:
        windows = stack([composite])
        output = model(windows.image, windows.mask)
        double = composite.target.shape[0] > SIZE
        plain = windows.image
        if double:
            plain = functional.interpolate(plain, scale_factor=2.0, mode="bicubic").clamp(-1, 1)
        view = view_of(output.clamp(-1, 1), windows)
        before = replace(view, ours=within(plain, view.real, view.mask))
        for name, seen in (("input", before), ("output", view)):
            for key, value in _figures(seen, teacher).items():
                sums.setdefault(f"{name}_{key}", []).append(value)
    return {key: float(np.mean(values)) for key, values in sums.items()}


def _figures(view: View, teacher: nn.Module | None) -> dict[str, float]:
    share = float(view.mask.mean()) + 1e-6
    levels = (view.ours - view.real) * 127.5
    squared = float(levels.square().mean()) / share
    found = {
        "l1": float(levels.abs().mean()) / share,
        "psnr": float(10 * np.log10(255**2 / max(squared, 1e-6))),
    }
    if teacher is not None:
        found["perceptual"] = float(feature_distance(teacher, view.ours, view.real))
    return found


@torch.no_grad()
def sample_grid(model: nn.Module, held_out: list[Composite], path: Path) -> None:
    """Held-out composites: enlarged, refined, real, as one PNG."""
    columns = []
    for composite in held_out:
        windows = stack([composite])
        pixels = to_image(model(windows.image, windows.mask).numpy())
        side = pixels.shape[:2]
        plain, real = (
            cv2.resize(x, side, interpolation=cv2.INTER_CUBIC)
            for x in (composite.image, composite.target)
        )
        columns.append(np.concatenate([plain, pixels, real]))
    cv2.imwrite(str(path), np.concatenate(columns, 1)[:, :, ::-1])


@dataclass(frozen=True)
class Material:
    """What a run works on: pools to learn from, composites to be judged by."""

    faces: Pool
    portraits: Pool
    held_out: list[Composite]
    held_out_double: list[Composite]
    described: dict[str, object]


def read_material(
    data: Path, networks: Path, recipe: RefinerRecipe, seed: int, *, tiny: bool = False
) -> Material:
    """Reads faces and portraits and makes the first composites.

    Args:
        data: Folder of aligned faces; ``portraits`` lies beside it.
        networks: Folder with the generator, encoder and parser whose errors are to be mended.
        recipe: Sizes.
        seed: Of every random draw.
        tiny: Whether these networks are of the preset ``tiny``.
    """
    make = Compositor(
        Generator.load(
            networks / "generator.safetensors", GeneratorConfig.tiny() if tiny else None
        ),
        Encoder.load(networks / "encoder.safetensors", EncoderConfig.tiny() if tiny else None),
    )
    faces = read_faces(data, with_labels=True)
    even, odd = read_portraits(
        data.parent / "portraits", parser.load(networks / "parser.safetensors")
    )
    train, val = (
        Crops(faces.images[rows], faces.labels[rows]) for rows in (faces.train, faces.val)
    )
    described = faces.describe() | {
        "portraits": "CC0 synthetic portraits at even places of the sorted order",
        "portraits_train": len(even.images),
    }
    return Material(
        Pool(train, make, recipe.pool, recipe.start, seed),
        Pool(even, make, recipe.pool, recipe.start, seed + 1),
        _made(make, val, min(24, recipe.start)),
        _made(make, odd, min(8, recipe.start)),
        described,
    )


def _made(make: Compositor, crops: Crops, count: int) -> list[Composite]:
    draw = np.random.default_rng(0)
    rows = range(min(count, len(crops.images)))
    return [make(crops.images[row], crops.labels[row], draw) for row in rows]


def _start(config: RefinerConfig, networks: Path) -> Refiner:
    """A new refiner, or the one beside the other networks."""
    model = Refiner(config)
    path = networks / "refiner.safetensors"
    if path.is_file():
        model.load_state_dict(read_weights(path)[1], strict=True)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _saver(
    run: Run,
    average: torch.optim.swa_utils.AveragedModel,
    material: Material,
    teacher: nn.Module,
) -> Callable[..., dict[str, object]]:
    """Writes the averaged weights, their figures on held-out people, and pictures."""

    def save(progress: Progress, count: int | None = GLANCE) -> dict[str, object]:
        model = average.module.eval()
        metrics = {
            "val": evaluate(model, material.held_out[:count], teacher),
            "portraits_512": evaluate(model, material.held_out_double[:count], teacher),
        }
        record = run.save(model, progress, metrics)
        shown = [*material.held_out[:2], *material.held_out_double[:2]]
        sample_grid(model, shown, run.out / f"refiner_{progress.steps:06d}.png")
        return record

    return save


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
) -> dict[str, object]:
    """Train for ``minutes`` and write ``refiner.safetensors`` and ``.json`` into ``out``.

    Args:
        data: Folder of aligned faces with labels (see ``dataset``); the 1024 px portraits are in
            ``portraits`` beside it.
        teachers: Folder that holds ``perceptual_squeezenet10.onnx``.
        out: Folder of the weights.
        minutes: Wall-clock length.
        seed: Of all draws; the number of steps still depends on the machine.
        preset: ``default`` or ``tiny``.
        resume: Folder with the weights of generator, encoder and parser, whose pictures are to be
            mended. A refiner there is trained on.

    Returns:
        The record that was written as JSON.

    Raises:
        UsageError: ``resume`` is missing or no folder.
    """
    if resume is None or not resume.is_dir():
        raise UsageError(
            "The refiner mends a trained generator's pictures; pass --resume with the folder that "
            "holds the weights of generator, encoder and parser."
        )
    config, recipe = PRESETS[preset]
    continued = (resume / "refiner.safetensors").is_file()
    recipe = recipe.continued() if continued else recipe
    torch.manual_seed(seed)
    material = read_material(data, resume, recipe, seed, tiny=preset == "tiny")
    teacher = Differentiable(teachers / f"{PERCEPTUAL}.onnx", outputs=5)
    model = _start(config, resume)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.averaging)
    )
    objective = Objective(Critics(recipe), teacher, recipe)

    def step() -> dict[str, Tensor]:
        if objective.steps % 2:
            (material.faces if objective.steps % 6 > 1 else material.portraits).renew()
        batch = [
            material.faces.windows(recipe.faces, recipe.window),
            material.portraits.windows(recipe.portraits, recipe.window),
        ]
        return objective(model, batch)

    run = Run(
        "refiner",
        out,
        asdict(config),
        asdict(recipe),
        material.described,
        seed,
        continued,
    )
    save = _saver(run, average, material, teacher)
    schedule = Schedule(
        minutes, recipe.peak, checkpoint_s=240.0, decay=0.0, max_steps=recipe.max_steps
    )
    end = optimise(
        model.parameters(), step, schedule, save, lambda: average.update_parameters(model)
    )
    return save(end, None)
