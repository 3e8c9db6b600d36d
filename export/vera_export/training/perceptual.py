"""Trains the perceptual network to judge distances as its teacher does.

The teacher is SqueezeNet 1.0 (arXiv 1602.07360) with the LPIPS distance (arXiv 1801.03924) and unit
weights. Three losses: the logarithm of the distance of a pair, where in the image the distance
lies, and the teacher's own channel-normalised features through 1x1 adapters.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.layers import mean_pool
from vera_export.models.perceptual import (
    Perceptual,
    PerceptualConfig,
    distance,
    distance_maps,
    normalise,
)
from vera_export.training import augment
from vera_export.training.dataset import read_faces
from vera_export.training.loop import Progress, Run, Schedule, load_training, optimise
from vera_export.training.teacher_graph import PERCEPTUAL
from vera_export.training.teachers import Differentiable

Bytes = npt.NDArray[np.uint8]
SIZE = contract.CROP_SIZE // 2
FLOOR = 3e-3  # added to distances before the logarithm: below it pairs count as equal

# The teacher's first eight maps have 61, 30 and 15 px for an image of 128 px: first map, and last
# map plus one, of each size. They go with our taps 1, 2 and 3.
GROUPS = ((0, 1), (1, 4), (4, 8))
# The teacher does not pad: its first cells lie at pixels 3, 5 and 9, nearest to our second cells.
OFFSET = 1


@dataclass(frozen=True)
class PerceptualRecipe:
    """Batch, rate, the weights of the losses, and the held-out triples that are judged."""

    triples: int = 4
    peak: float = 2e-3
    place: float = 0.5
    feature: float = 0.3
    judged: int = 64
    max_steps: int | None = None


PRESETS = {
    "default": (PerceptualConfig(), PerceptualRecipe()),
    "tiny": (PerceptualConfig.tiny(), PerceptualRecipe(triples=1, judged=4, max_steps=4)),
}


class Adapters(nn.Module):
    """1x1 convolutions from our taps to the teacher's channel-normalised maps; training only."""

    def __init__(self, taps: tuple[int, ...], groups: tuple[int, ...]) -> None:
        """Channels of our taps 1..3 and of the teacher's groups."""
        super().__init__()
        pairs = zip(taps[1:], groups, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in pairs)
        for conv in self.convolutions:
            assert isinstance(conv, nn.Conv2d)
            nn.init.zeros_(conv.weight)

    def forward(self, taps: tuple[Tensor, ...], targets: list[Tensor]) -> Tensor:
        """Mean over groups of the squared error per position; a normalised map has norm 1."""
        errors = []
        for conv, tap, target in zip(self.convolutions, taps[1:], targets, strict=True):
            side = target.shape[-1]
            ours = conv(tap[..., OFFSET : OFFSET + side, OFFSET : OFFSET + side])
            errors.append((ours.float() - target).square().sum(1).mean())
        return torch.stack(errors).mean()


def unit_groups(maps: list[Tensor]) -> list[Tensor]:
    """The teacher's maps, each channel-normalised, concatenated by resolution."""
    units = [m * torch.rsqrt(m.square().sum(1, keepdim=True) + 1e-8) for m in maps]
    return [torch.cat(units[first:last], 1) for first, last in GROUPS]


def teacher_distance(a: list[Tensor], b: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Distances [n] and their map [n, 15, 15] from two lists of ``unit_groups``."""
    maps = [(x - y).square().sum(1) for x, y in zip(a, b, strict=True)]
    side = maps[-1].shape[-1]
    pooled = [functional.interpolate(m[:, None], (side, side), mode="area")[:, 0] for m in maps]
    return torch.stack([m.mean((1, 2)) for m in maps]).sum(0), torch.stack(pooled).sum(0)


def distort(image: Bytes, other: Bytes, draw: augment.Draw) -> Bytes:
    """One or two random changes of ``image``; some take from ``other``. uint8 [s, s, 3]."""
    size = image.shape[0]
    for _ in range(int(draw.integers(1, 3))):
        kind = draw.integers(9)
        if kind == 0:
            image = augment.blur(image, draw, 4.0)
        elif kind == 1:
            image = augment.light_and_colour(image, draw, draw.uniform(0.2, 1))
        elif kind == 2:
            image = augment.bend(image, draw, 0.05)
        elif kind == 3:
            turn = augment.similarity(
                (size / 2, size / 2),
                draw.normal(0, 3),
                np.exp(draw.normal(0, 0.03)),
                (draw.normal(0, 2), draw.normal(0, 2)),
            )
            image = augment.warp(image, turn, size)
        elif kind == 4:
            image = augment.noise(image, draw, 25)
        elif kind == 5:
            weight = draw.random() if draw.random() < 0.6 else 1.0
            image = augment.to_bytes(weight * other + (1 - weight) * image.astype(np.float32))
        elif kind == 6:
            alpha = augment.soft_ellipse(draw, size)[..., None] * np.float32(draw.uniform(0.4, 1))
            image = augment.to_bytes(alpha * other + (1 - alpha) * image)
        elif kind == 7:
            image = augment.low_resolution(image, draw, 10)
        else:
            image = augment.jpeg(image, draw)
    return image


def draw_triples(
    images: Bytes, rows: npt.NDArray[np.int64], count: int, draw: augment.Draw
) -> Tensor:
    """Originals, then two distorted versions of each: [3 * count, 3, s, s] in [-1, 1]."""
    chosen = draw.choice(rows, (count, 3))
    first = [images[c[0]] if draw.random() < 0.5 else images[c[0]][:, ::-1] for c in chosen]
    versions = [
        distort(image, images[c[k]], draw)
        for k in (1, 2)
        for image, c in zip(first, chosen, strict=True)
    ]
    return torch.from_numpy(augment.to_tensor_array(np.stack([*first, *versions])))


class Objective:
    """The three losses of a batch of triples."""

    def __init__(self, teacher: nn.Module, adapters: Adapters, recipe: PerceptualRecipe) -> None:
        """Bind what does not change from step to step."""
        self.teacher, self.adapters, self.recipe = teacher, adapters, recipe

    def __call__(self, model: Perceptual, batch: Tensor) -> dict[str, Tensor]:
        """``batch`` is a result of ``draw_triples``: each original with two versions of it."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            raw = self.teacher((batch + 1) * 127.5)
        targets = unit_groups([r.float() for r in raw])
        wanted, wanted_map = teacher_distance(*split_pairs(targets))
        # Rounding to bfloat16 moves a distance by about 1e-5, far below FLOOR.
        with torch.autocast("cpu", torch.bfloat16):
            taps = model.features(batch)
            feature = self.adapters(taps, targets)
        maps = distance_maps(*split_pairs(normalise([t.float() for t in taps])), list(model.lin))
        ours = torch.stack([m.mean((1, 2)) for m in maps]).sum(0)
        value = functional.smooth_l1_loss((ours + FLOOR).log(), (wanted + FLOOR).log(), beta=0.3)
        side = wanted_map.shape[-1]
        ours_map = torch.stack([pool_to(m, SIZE // 8) for m in maps]).sum(0)
        ours_map = ours_map[:, OFFSET : OFFSET + side, OFFSET : OFFSET + side]
        scale = wanted_map.mean((1, 2), keepdim=True) + 10 * FLOOR
        place = ((ours_map - wanted_map) / scale).abs().mean()
        loss = value + self.recipe.place * place + self.recipe.feature * feature
        return {"loss": loss, "value": value, "place": place, "feature": feature}


def split_pairs(group: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of originals and two versions [3n, ...] as both sides of the two pairs [2n, ...]."""
    left, right = [], []
    for x in group:
        a, b, c = x.chunk(3)
        left.append(torch.cat([a, a]))
        right.append(torch.cat([b, c]))
    return left, right


def pool_to(x: Tensor, side: int) -> Tensor:
    """Mean pooling of [n, s, s] to [n, side, side]; s is a multiple of ``side``."""
    factor = x.shape[-1] // side
    return functional.avg_pool2d(x[:, None], factor)[:, 0] if factor > 1 else x


def evaluate(model: Perceptual, teacher: nn.Module, triples: Tensor) -> dict[str, float]:
    """Agreement with the teacher on held-out triples.

    Returns:
        ``rank_correlation`` (Spearman) of the distances of all pairs; ``log_error``, the deviation
        of the log ratio; ``gradient_cosine``, median cosine of the gradients by the distorted
        image, and the same after both were averaged over 4x4 px.
    """
    from scipy.stats import spearmanr

    model.eval()
    ours: list[Tensor] = []
    wanted: list[Tensor] = []
    cosines: list[tuple[Tensor, Tensor]] = []
    originals, changed, _ = triples.chunk(3)
    for part in torch.split(torch.arange(len(originals)), 8):
        x, y = originals[part], changed[part].clone().requires_grad_()
        target = unit_groups(teacher((x + 1) * 127.5))
        theirs, _ = teacher_distance(target, unit_groups(teacher((y + 1) * 127.5)))
        mine = distance(model.features(x), model.features(y), list(model.lin))
        grads = [torch.autograd.grad(v.sum(), y, retain_graph=True)[0] for v in (theirs, mine)]
        smooth = [mean_pool(g, 4) for g in grads]
        cosines.append((_cosine(*grads), _cosine(*smooth)))
        ours.append(mine.detach())
        wanted.append(theirs.detach())
    a, b = torch.cat(ours), torch.cat(wanted)
    fine, coarse = (torch.cat([c[k] for c in cosines]) for k in (0, 1))
    return {
        "rank_correlation": float(spearmanr(a.numpy(), b.numpy()).statistic),
        "log_error": float(((a + FLOOR).log() - (b + FLOOR).log()).std()),
        "gradient_cosine": float(fine.median()),
        "gradient_cosine_4px": float(coarse.median()),
    }


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return functional.cosine_similarity(a.flatten(1), b.flatten(1))


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
) -> dict[str, object]:
    """Train for ``minutes`` and write ``perceptual.safetensors`` and ``.json`` into ``out``.

    Args:
        data: Folder of aligned faces (see ``dataset``).
        teachers: Folder that holds ``perceptual_squeezenet10.onnx``.
        out: Folder of the weights.
        minutes: Wall-clock length.
        seed: Of all draws; the number of steps still depends on the machine.
        preset: ``default`` or ``tiny``.
        resume: Weights of an earlier run to start from.

    Returns:
        The record that was written as JSON.
    """
    config, recipe = PRESETS[preset]
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    faces = read_faces(data, SIZE)
    teacher = Differentiable(teachers / f"{PERCEPTUAL}.onnx", GROUPS[-1][1])
    model = load_training(Perceptual(config), resume)
    with torch.no_grad():
        groups = tuple(g.shape[1] for g in unit_groups(teacher(torch.zeros(1, 3, SIZE, SIZE))))
    adapters = Adapters(config.taps, groups)
    objective = Objective(teacher, adapters, recipe)
    held_out = draw_triples(faces.images, faces.val, recipe.judged, np.random.default_rng(0))

    def step() -> dict[str, Tensor]:
        batch = draw_triples(faces.images, faces.train, recipe.triples, draw)
        return objective(model, batch.to(memory_format=torch.channels_last))

    def clamp() -> None:
        with torch.no_grad():
            for lin in model.lin:
                lin.clamp_(min=0)

    run = Run(
        "perceptual",
        out,
        asdict(config),
        asdict(recipe),
        faces.describe(),
        seed,
        resume is not None,
    )

    def save(progress: Progress) -> dict[str, object]:
        metrics = evaluate(model, teacher, held_out)
        return run.save(model, progress, metrics)

    model.train()
    schedule = Schedule(minutes, recipe.peak, max_steps=recipe.max_steps)
    trained = [*model.parameters(), *adapters.parameters()]
    return save(optimise(trained, step, schedule, save, clamp))
