"""Trains the embedder to give the teacher's embedding of the same image.

The folder holds few people, but the teacher can judge any image: parts of two people put together,
their mean, bent faces and badly aligned ones make new identities, labelled as they are drawn.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vera import contract
from vera.pixels.align import ARCFACE, crop_matrix
from vera_export.models.embedder import Embedder, EmbedderConfig
from vera_export.training import augment
from vera_export.training.dataset import Faces, read_faces
from vera_export.training.loop import Progress, Run, Schedule, load_training, optimise
from vera_export.training.teacher_graph import RECOGNISER
from vera_export.training.teachers import Labeller, last_sums

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
SIZE = contract.EMBEDDER_SIZE
SIDES = (28, 14, 7)  # where inner features are compared


@dataclass(frozen=True)
class EmbedderRecipe:
    """Batch, rate, and weights of the losses.

    Attributes:
        batch: Images per step.
        peak: Largest learning rate.
        pairs: Weight of the squared error of the cosines within the batch.
        inner: Weight of the error of the inner features.
        max_steps: Upper limit of steps, for tests.
    """

    batch: int = 32
    peak: float = 2e-3
    pairs: float = 10.0
    inner: float = 0.5
    max_steps: int | None = None


PRESETS = {
    "default": (EmbedderConfig(), EmbedderRecipe()),
    "tiny": (EmbedderConfig.tiny(), EmbedderRecipe(batch=2, max_steps=4)),
}


class Adapters(nn.Module):
    """1x1 convolutions from our inner maps to the teacher's; training only."""

    def __init__(self, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        """Channels of the maps on both sides."""
        super().__init__()
        pairs = zip(ours, theirs, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in pairs)

    def forward(self, maps: list[Tensor], targets: list[Tensor]) -> Tensor:
        """Mean over maps of the squared error relative to the target's variance."""
        errors = []
        for conv, x, y in zip(self.convolutions, maps, targets, strict=True):
            error = (conv(x).float() - y).square().mean()
            errors.append(error / (y - y.mean((0, 2, 3), keepdim=True)).square().mean())
        return torch.stack(errors).mean()


def align(faces: Faces, row: int, draw: augment.Draw | None = None) -> Bytes:
    """A face on the ArcFace template, uint8 [112, 112, 3]; with ``draw`` less exactly so."""
    matrix = crop_matrix(faces.five[row], ARCFACE)
    if draw is not None:
        reach = 3.0 if draw.random() < 0.15 else 1.0
        shift = draw.normal(0, 1.8, 2) * reach
        middle = ((SIZE - 1) / 2, (SIZE - 1) / 2)
        degrees, growth = draw.normal(0, 3.5) * reach, np.exp(draw.normal(0, 0.04) * reach)
        jitter = augment.similarity(middle, degrees, growth, (shift[0], shift[1]))
        matrix = np.hstack(
            [jitter[:, :2] @ matrix[:, :2], jitter[:, :2] @ matrix[:, 2:] + jitter[:, 2:]]
        )
    return augment.warp(faces.images[row], matrix, SIZE)


def mix(first: Bytes, second: Bytes, draw: augment.Draw) -> Bytes:
    """Two aligned faces as one: their mean, a soft patch, or one half above the other."""
    kind = draw.random()
    if kind < 0.35:
        alpha = np.full((SIZE, SIZE), draw.uniform(0.15, 0.85), np.float32)
    elif kind < 0.75:
        alpha = augment.soft_ellipse(draw, SIZE, 0.1, 0.45)
    else:
        line = draw.uniform(0.4, 0.75) * SIZE
        ramp = (np.arange(SIZE, dtype=np.float32) - line) / np.float32(draw.uniform(1, 10))
        alpha = np.broadcast_to(1 / (1 + np.exp(-ramp.clip(-30, 30)))[:, None], (SIZE, SIZE))
    return augment.to_bytes(
        alpha[..., None] * second + (1 - alpha[..., None]) * first.astype(np.float32)
    )


def draw_sample(faces: Faces, row: int, donor: int, draw: augment.Draw) -> Bytes:
    """One training image uint8 [112, 112, 3]."""
    image = align(faces, row, draw)
    if draw.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    if draw.random() < 0.55:
        image = mix(image, align(faces, donor, draw), draw)
    if draw.random() < 0.4:
        image = augment.bend(image, draw, 0.06)
    if draw.random() < 0.8:
        image = augment.light_and_colour(image, draw, 0.6)
    if draw.random() < 0.1:
        image = image.copy()
        image[augment.occluder(draw, SIZE)] = draw.integers(0, 256, 3)
    return augment.degrade(image, draw, 0.1)


def draw_batch(faces: Faces, rows: npt.NDArray[np.int64], count: int, draw: augment.Draw) -> Bytes:
    """uint8 [count, 112, 112, 3]; a quarter of the people appear twice, so that likeness occurs."""
    chosen = draw.choice(rows, (count, 2))
    again = count // 4
    chosen[:again, 0] = chosen[again : 2 * again, 0]
    return np.stack([draw_sample(faces, int(a), int(b), draw) for a, b in chosen])


def unit(x: Float) -> Float:
    """Rows of [n, d] divided by their length."""
    scaled: Float = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)
    return scaled


def teacher_input(images: Bytes) -> Float:
    """uint8 [n, 112, 112, 3] to float32 [n, 3, 112, 112] in 0..255."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


def embedding_losses(
    ours: Tensor, wanted: Tensor, inner: Tensor, recipe: EmbedderRecipe
) -> dict[str, Tensor]:
    """One minus the cosine to the target, squared error of pairwise cosines, and ``inner``.

    Args:
        ours: [n, 128] unit vectors.
        wanted: [n, 128] unit vectors of the teacher.
        inner: Error of inner features, a scalar.
        recipe: Weights.
    """
    cosine = 1 - (ours * wanted).sum(1).mean()
    pairs = (ours @ ours.T - wanted @ wanted.T).square().mean()
    loss = 3 * cosine + recipe.pairs * pairs + recipe.inner * inner
    return {"loss": loss, "cosine": cosine, "pairs": pairs, "inner": inner}


def evaluate(model: Embedder, images: Bytes, wanted: Float) -> dict[str, float]:
    """Agreement with the teacher's unit embeddings [n, 128] of ``images`` [n, 112, 112, 3].

    Returns:
        ``cosine`` to the teacher (mean); ``pair_correlation`` and ``pair_error`` (standard
        deviation of the difference) of the cosines of all pairs.
    """
    model.eval()
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(augment.to_tensor_array(images)), 64)
        ours = torch.cat([model(x) for x in parts]).numpy()
    upper = np.triu_indices(len(ours), 1)
    a, b = (ours @ ours.T)[upper], (wanted @ wanted.T)[upper]
    return {
        "cosine": float((ours * wanted).sum(1).mean()),
        "pair_correlation": float(np.corrcoef(a, b)[0, 1]),
        "pair_error": float((a - b).std()),
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
    """Train for ``minutes`` and write ``embedder.safetensors`` and ``.json`` into ``out``.

    Args:
        data: Folder of aligned faces with landmarks (see ``dataset``).
        teachers: Folder that holds ``identity_mobilefacenet.onnx``.
        out: Folder of the weights; ``embedder.training.safetensors`` there is for ``resume``.
        minutes: Wall-clock length.
        seed: Of all draws; the number of steps still depends on the machine.
        preset: ``default`` or ``tiny``.
        resume: An ``embedder.training.safetensors`` to start from.

    Returns:
        The record that was written as JSON.
    """
    config, recipe = PRESETS[preset]
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    faces = read_faces(data)
    source = teachers / f"{RECOGNISER}.onnx"
    hints = last_sums(source, SIDES)
    teacher = Labeller(source, tuple(name for name, _ in hints))
    model = load_training(Embedder(replace(config, norm=True)), resume)
    ours = (*config.widths[1:3], config.last)
    adapters = Adapters(ours, tuple(channels for _, channels in hints))
    clean = np.stack([align(faces, int(row)) for row in faces.val])
    changed = draw_batch(faces, faces.val, len(faces.val), np.random.default_rng(0))
    held_out = [(x, unit(teacher(teacher_input(x))[0])) for x in (clean, changed)]

    def step() -> dict[str, Tensor]:
        images = draw_batch(faces, faces.train, recipe.batch, draw)
        wanted, *targets = teacher(teacher_input(images))
        batch = torch.from_numpy(augment.to_tensor_array(images))
        with torch.autocast("cpu", torch.bfloat16):
            maps = model.maps(batch.to(memory_format=torch.channels_last))
            found = model.embed(maps[-1])
            inner = adapters(maps, [torch.from_numpy(t) for t in targets])
        return embedding_losses(found, torch.from_numpy(unit(wanted)), inner, recipe)

    run = Run(
        "embedder", out, asdict(config), asdict(recipe), faces.describe(), seed, resume is not None
    )

    def save(progress: Progress) -> dict[str, object]:
        metrics = dict(
            zip(("val", "val_changed"), (evaluate(model, *h) for h in held_out), strict=True)
        )
        return run.save(model, progress, metrics)

    model.train()
    schedule = Schedule(minutes, recipe.peak, max_steps=recipe.max_steps)
    trained = [*model.parameters(), *adapters.parameters()]
    return save(optimise(trained, step, schedule, save))
