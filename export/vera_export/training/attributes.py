"""Trains the attribute network on crops that are far from aligned.

It serves as the second alignment pass after a coarse detector box, so the crops are turned, scaled
and shifted much more than a detector errs. Targets are the columns and points of the data folder.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vera import contract
from vera_export.models.attributes import (
    CELLS,
    STRIDE,
    Attributes,
    AttributesConfig,
    scaled_targets,
)
from vera_export.training import augment
from vera_export.training.dataset import Faces, read_faces
from vera_export.training.loop import Progress, Run, Schedule, load_training, optimise

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
SIZE = contract.ATTRIBUTES_SIZE
MIRRORED = (1, 0, 2, 4, 3)  # the five points after a horizontal flip


@dataclass(frozen=True)
class AttributesRecipe:
    """Batch, rate, and weights of the losses against that of the points."""

    batch: int = 32
    peak: float = 2e-3
    pose: float = 0.5
    expression: float = 0.4
    mouth: float = 2.0
    age: float = 0.3
    female: float = 0.15
    heat: float = 0.2
    max_steps: int | None = None


PRESETS = {
    "default": (AttributesConfig(), AttributesRecipe()),
    "tiny": (AttributesConfig.tiny(), AttributesRecipe(batch=2, max_steps=4)),
}


def random_crop(
    draw: augment.Draw, size: int, strength: float = 1.0
) -> tuple[augment.Matrix, float]:
    """2x3 matrix from an aligned image of ``size`` px to a 128 px crop, and its turn in degrees.

    At full strength: turned by up to 30 degrees, scaled 0.7 to 1.4, shifted by up to a fifth.
    """
    reach = strength * (1.0 if draw.random() < 0.7 else 0.3)
    degrees = draw.uniform(-30, 30) * reach
    growth = float(np.exp(draw.uniform(-0.357, 0.336) * reach))
    shift = draw.uniform(-0.2, 0.2, 2) * reach * size
    middle = (size - 1) / 2
    turn = augment.similarity((middle, middle), degrees, growth, (shift[0], shift[1]))
    half = SIZE / size
    return np.hstack([turn[:, :2] * half, turn[:, 2:] * half + (half - 1) / 2]), degrees


def draw_sample(faces: Faces, row: int, draw: augment.Draw) -> tuple[Bytes, Float, float, bool]:
    """A changed crop uint8 [128, 128, 3], its points [5, 2], its turn in degrees, if mirrored."""
    image, five = faces.images[row], faces.five[row]
    side = image.shape[0]
    mirrored = bool(draw.random() < 0.5)
    if mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
        five = (five * [-1, 1] + [side - 1, 0])[list(MIRRORED)].astype(np.float32)
    matrix, degrees = random_crop(draw, side)
    crop = augment.warp(image, matrix, SIZE)
    if draw.random() < 0.5:  # beyond the image lies something else, not its mirror image
        inside = augment.warp(np.full_like(image, 255), matrix, SIZE, border=0)[..., 0]
        behind = augment.texture(draw, SIZE, faces.images)
        crop = augment.replace_background(crop, np.asarray(inside / 255, np.float32), behind)
    if draw.random() < 0.3:
        covered = augment.occluder(draw, SIZE)
        crop[covered] = augment.texture(draw, SIZE, faces.images)[covered]
    if draw.random() < 0.85:
        crop = augment.light_and_colour(crop, draw)
    return augment.degrade(crop, draw, 0.2), augment.move_points(five, matrix), degrees, mirrored


def draw_batch(
    faces: Faces, rows: npt.NDArray[np.int64], draw: augment.Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """Crops [n, 3, 128, 128] and targets: ``points`` and the attributes of the contract."""
    samples = [draw_sample(faces, int(row), draw) for row in rows]
    crops = augment.to_tensor_array(np.stack([s[0] for s in samples]))
    turned = np.array([s[2] for s in samples], np.float32)
    sign = np.where([s[3] for s in samples], -1, 1).astype(np.float32)
    column = {name: values[rows] for name, values in faces.columns.items()}
    # A mirror image turns the head and tilts it the other way; turning the crop adds to the tilt.
    pose = np.stack([sign * column["yaw"], column["pitch"], sign * column["roll"] + turned], 1)
    expression = np.stack([column[f"p_{name}"] for name in contract.EXPRESSIONS], 1)
    targets = {
        "points": np.stack([s[1] for s in samples]),
        "pose": pose,
        "expression": expression / expression.sum(1, keepdims=True).clip(1e-6),
        **{name: column[name][:, None] for name in ("mouth_open", "age", "female")},
    }
    return torch.from_numpy(crops), {k: torch.from_numpy(v) for k, v in targets.items()}


def attribute_losses(
    model: Attributes, crops: Tensor, targets: dict[str, Tensor], recipe: AttributesRecipe
) -> dict[str, Tensor]:
    """The losses of all outputs; points outside the crop do not count."""
    with torch.autocast("cpu", torch.bfloat16):
        heat, (pose, expression, mouth, age, female) = model.raw(crops)
    wanted = targets["points"]
    inside = ((wanted >= 0) & (wanted <= SIZE - 1)).all(-1)
    error = (model.points(heat) - wanted).abs().sum(-1)
    pose_target, age_target = scaled_targets(targets["pose"], targets["age"])
    losses = {
        "points": error[inside].mean() / STRIDE,
        "heat": _heat_loss(heat, wanted)[inside].mean(),
        "pose": (pose - pose_target).abs().mean(),
        "expression": -(targets["expression"] * torch.log_softmax(expression, 1)).sum(1).mean(),
        "mouth": (mouth - targets["mouth_open"]).abs().mean(),
        "age": (age - age_target).abs().mean(),
        "female": functional.binary_cross_entropy_with_logits(female, targets["female"]),
    }
    weights = asdict(recipe) | {"points": 1.0}
    total = torch.stack([value * weights[name] for name, value in losses.items()]).sum()
    return {"loss": total, **losses}


def _heat_loss(heat: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy [n, 5] with a Gaussian of one cell around the point: a single sharp peak."""
    cells = torch.arange(CELLS, dtype=torch.float32)
    centre = (points - (STRIDE - 1) / 2) / STRIDE  # [n, 5, 2] in cells
    x, y = (torch.softmax(-((cells - centre[..., k : k + 1]) ** 2) / 2, -1) for k in (0, 1))
    wanted = (y[..., :, None] * x[..., None, :]).flatten(2)
    return -(wanted * torch.log_softmax(heat, 2)).sum(2)


def evaluate(model: Attributes, crops: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """Mean absolute errors; points in percent of the distance between the eyes (mean, 95th)."""
    model.eval()
    with torch.no_grad():
        parts = [model(x) for x in torch.split(crops, 64)]
    pose, expression, mouth, age, female, points = (
        torch.cat([p[k] for p in parts]) for k in range(6)
    )
    wanted = targets["points"]
    eyes = (wanted[:, 0] - wanted[:, 1]).norm(dim=-1)
    error = (points - wanted).norm(dim=-1).mean(1) / eyes * 100
    off = (pose - targets["pose"]).abs().mean(0)
    happy = contract.EXPRESSIONS.index("happy")
    return {
        "points_percent": float(error.mean()),
        "points_percent_p95": float(error.quantile(0.95)),
        "yaw_deg": float(off[0]),
        "pitch_deg": float(off[1]),
        "roll_deg": float(off[2]),
        "mouth_open": float((mouth - targets["mouth_open"]).abs().mean()),
        "age_years": float((age - targets["age"]).abs().mean()),
        "female_agrees": float(((female > 0.5) == (targets["female"] > 0.5)).float().mean()),
        "expression_agrees": float(
            (expression.argmax(1) == targets["expression"].argmax(1)).float().mean()
        ),
        "happy_abs": float((expression - targets["expression"])[:, happy].abs().mean()),
    }


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
) -> dict[str, object]:
    """Train for ``minutes`` and write ``attributes.safetensors`` and ``.json`` into ``out``.

    Args:
        data: Folder of aligned faces with landmarks and an index (see ``dataset``).
        teachers: Not read: the targets are in the data folder.
        out: Folder of the weights; ``attributes.training.safetensors`` there is for ``resume``.
        minutes: Wall-clock length.
        seed: Of all draws; the number of steps still depends on the machine.
        preset: ``default`` or ``tiny``.
        resume: An ``attributes.training.safetensors`` to start from.

    Returns:
        The record that was written as JSON.
    """
    config, recipe = PRESETS[preset]
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    faces = read_faces(data)
    model = load_training(Attributes(replace(config, norm=True)), resume)
    held_out = draw_batch(faces, faces.val, np.random.default_rng(0))

    def step() -> dict[str, Tensor]:
        crops, targets = draw_batch(faces, draw.choice(faces.train, recipe.batch), draw)
        crops = crops.to(memory_format=torch.channels_last)
        return attribute_losses(model, crops, targets, recipe)

    run = Run(
        "attributes",
        out,
        asdict(config),
        asdict(recipe),
        faces.describe(),
        seed,
        resume is not None,
    )

    def save(progress: Progress) -> dict[str, object]:
        metrics = evaluate(model, *held_out)
        return run.save(model, progress, metrics)

    model.train()
    schedule = Schedule(minutes, recipe.peak, max_steps=recipe.max_steps)
    return save(optimise(model.parameters(), step, schedule, save))
