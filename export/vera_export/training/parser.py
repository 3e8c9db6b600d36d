"""Trains the parser on labelled faces under strong changes of light, background and position.

The labels come from a network that fails on busy backgrounds and side light; changing both after
labelling is what lets the parser become better than its labels there.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vera import contract
from vera_export.models.parser import Parser, ParserConfig
from vera_export.training import augment
from vera_export.training.dataset import Faces, read_faces
from vera_export.training.loop import Progress, Run, Schedule, load_training, optimise

Bytes = npt.NDArray[np.uint8]
SIZE = contract.CROP_SIZE
# Of the cross-entropy, by class: about frequency ^ -0.35, so that small parts appear early.
WEIGHTS = (0.7, 0.8, 3.5, 2.7, 2.4, 2.0, 2.4, 0.85, 1.5, 2.0, 3.0, 3.0, 3.0)
GLANCE = 64  # images judged at a checkpoint; the end judges all


@dataclass(frozen=True)
class ParserRecipe:
    """Batch, rate, and chances of the changes.

    Attributes:
        batch: Images per step.
        peak: Largest learning rate.
        background: Chance of another background.
        occlusion: Chance of something in front of the face, whose pixels are not counted.
        dice: Weight of the soft Dice loss (V-Net, arXiv 1606.04797), which small classes need.
        max_steps: Upper limit of steps, for tests.
    """

    batch: int = 8
    peak: float = 2e-3
    background: float = 0.55
    occlusion: float = 0.25
    dice: float = 0.5
    max_steps: int | None = None


PRESETS = {
    "default": (ParserConfig(), ParserRecipe()),
    "tiny": (ParserConfig.tiny(), ParserRecipe(batch=2, max_steps=4)),
}


def random_pose(draw: augment.Draw) -> augment.Matrix:
    """Turn by up to 20 degrees, scale 0.7 to 1.3, shift by up to an eighth of the crop."""
    easy = draw.random() < 0.4  # most crops arrive well aligned
    reach = 0.25 if easy else 1.0
    middle = (SIZE - 1) / 2
    shift = draw.uniform(-reach, reach, 2) * SIZE / 8
    degrees, growth = draw.uniform(-20, 20) * reach, np.exp(draw.uniform(-0.35, 0.26) * reach)
    return augment.similarity((middle, middle), degrees, growth, (shift[0], shift[1]))


def draw_sample(
    faces: Faces, row: int, draw: augment.Draw, recipe: ParserRecipe
) -> tuple[Bytes, Bytes]:
    """One changed image uint8 [256, 256, 3] and its labels uint8 [256, 256] (255 is ignored)."""
    image, labels = faces.images[row], faces.labels[row]
    if draw.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    matrix = random_pose(draw)
    replaced = draw.random() < recipe.background
    image = augment.warp(np.ascontiguousarray(image), matrix, SIZE)
    # A mirrored border would show half a second face; with a new background there is none.
    border = 0 if replaced else augment.IGNORED
    labels = augment.warp(np.ascontiguousarray(labels), matrix, SIZE, nearest=True, border=border)
    if draw.random() < 0.3:
        image = augment.light_and_colour(image, draw, 0.7)  # light on the face alone
    if replaced:
        behind = augment.texture(draw, SIZE, faces.images)
        image = augment.replace_background(image, (labels != 0).astype(np.float32), behind)
    if draw.random() < recipe.occlusion:
        covered = augment.occluder(draw, SIZE)
        image, labels = image.copy(), labels.copy()
        image[covered] = augment.texture(draw, SIZE, faces.images)[covered]
        labels[covered] = augment.IGNORED
    if draw.random() < 0.85:
        image = augment.light_and_colour(image, draw)
    return augment.degrade(image, draw, 0.2), labels


def draw_batch(
    faces: Faces, rows: npt.NDArray[np.int64], draw: augment.Draw, recipe: ParserRecipe
) -> tuple[Tensor, Tensor]:
    """Images [n, 3, 256, 256] in [-1, 1] and labels int64 [n, 256, 256]."""
    samples = [draw_sample(faces, int(row), draw, recipe) for row in rows]
    images = augment.to_tensor_array(np.stack([s[0] for s in samples]))
    labels = np.stack([s[1] for s in samples]).astype(np.int64)
    return torch.from_numpy(images), torch.from_numpy(labels)


def parsing_losses(logits: Tensor, labels: Tensor, dice_weight: float) -> dict[str, Tensor]:
    """Weighted cross-entropy of counted pixels, and one minus soft Dice of the batch at half size.

    Args:
        logits: [n, 13, h, w].
        labels: int64 [n, h, w]; 255 is not counted.
        dice_weight: Weight of the second in ``loss``.
    """
    entropy = functional.cross_entropy(
        logits, labels, logits.new_tensor(WEIGHTS), ignore_index=augment.IGNORED
    )
    small, part = logits[..., ::2, ::2], labels[..., ::2, ::2]
    counted = (part != augment.IGNORED)[:, None]
    probability = torch.softmax(small, 1) * counted
    wanted = functional.one_hot(part.clamp(max=contract.CLASS_COUNT - 1), contract.CLASS_COUNT)
    wanted = wanted.permute(0, 3, 1, 2) * counted
    shared = (probability * wanted).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + wanted.sum((0, 2, 3))
    present = wanted.sum((0, 2, 3)) > 0
    dice = 1 - ((2 * shared + 1) / (total + 1))[present].mean()
    return {"loss": entropy + dice_weight * dice, "entropy": entropy, "dice": dice}


def evaluate(model: Parser, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Intersection over union of every class that occurs, their mean, and the pixel accuracy."""
    k = contract.CLASS_COUNT
    counts = torch.zeros(k * k, dtype=torch.int64)
    model.eval()
    with torch.no_grad():
        for x, y in zip(torch.split(images, 16), torch.split(labels, 16), strict=True):
            with torch.autocast("cpu", torch.bfloat16):
                found = model(x).argmax(1)
            known = y != augment.IGNORED
            counts += torch.bincount(y[known] * k + found[known], minlength=k * k)
    table = counts.view(k, k).double()
    union = table.sum(0) + table.sum(1) - table.diag()
    iou = table.diag() / union.clamp(min=1)
    present = table.sum(1) > 0
    by_class = {
        f"iou_{name}": float(value)
        for name, value, there in zip(contract.CLASSES, iou, present, strict=True)
        if there
    }
    core = [contract.CLASSES.index(c) for c in ("glasses", "hat", "earring")]
    common = [c for c in range(k) if c not in core and present[c]]
    accuracy = float(table.diag().sum() / table.sum())
    means = {"mean_iou_10": float(iou[common].mean()), "accuracy": accuracy}
    return means | by_class


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
) -> dict[str, object]:
    """Train for ``minutes`` and write ``parser.safetensors`` and ``.json`` into ``out``.

    Args:
        data: Folder of aligned faces with labels (see ``dataset``).
        teachers: Not read: the labels are in the data folder.
        out: Folder of the weights; ``parser.training.safetensors`` there is for ``resume``.
        minutes: Wall-clock length.
        seed: Of all draws; the number of steps still depends on the machine.
        preset: ``default`` or ``tiny``.
        resume: A ``parser.training.safetensors`` to start from.

    Returns:
        The record that was written as JSON.
    """
    config, recipe = PRESETS[preset]
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    faces = read_faces(data, SIZE, with_labels=True)
    model = load_training(Parser(replace(config, norm=True)), resume)
    plain = augment.to_tensor_array(faces.images[faces.val])
    clean = torch.from_numpy(plain), torch.from_numpy(faces.labels[faces.val].astype(np.int64))
    changed = draw_batch(faces, faces.val, np.random.default_rng(0), recipe)

    def step() -> dict[str, Tensor]:
        images, labels = draw_batch(faces, draw.choice(faces.train, recipe.batch), draw, recipe)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images.to(memory_format=torch.channels_last))
        return parsing_losses(logits.float(), labels, recipe.dice)

    run = Run(
        "parser", out, asdict(config), asdict(recipe), faces.describe(), seed, resume is not None
    )

    def save(progress: Progress, count: int = GLANCE) -> dict[str, object]:
        metrics = {
            name: evaluate(model, images[:count], labels[:count])
            for name, (images, labels) in (("val", clean), ("val_changed", changed))
        }
        return run.save(model, progress, metrics)

    model.train()
    schedule = Schedule(minutes, recipe.peak, max_steps=recipe.max_steps)
    end = optimise(model.parameters(), step, schedule, save)
    return save(end, len(faces.val))
