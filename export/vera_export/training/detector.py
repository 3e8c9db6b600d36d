"""Trains the detector on synthetic scenes: labelled faces pasted onto face-free backgrounds."""

import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vera.face.detect import Run as Engine
from vera.face.detect import detect
from vera_export.models.detector import CHANNELS, STRIDE, Detector, DetectorConfig
from vera_export.training.dataset import read_faces
from vera_export.training.loop import Progress, Run, Schedule, load_training, optimise
from vera_export.training.scenes import Crops, Scene, SceneMaker, read_mesh

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DetectorRecipe:
    """Batch, rate and scenes.

    Attributes:
        batch: Scenes per step.
        peak: Largest learning rate.
        side: Side of the square scenes in pixels.
        val_scenes: Scenes of held-out faces that the metrics are measured on.
        max_steps: Upper limit of steps, for tests.
    """

    batch: int = 16
    peak: float = 3e-3
    side: int = 256
    val_scenes: int = 200
    max_steps: int | None = None


PRESETS = {
    "default": (DetectorConfig(), DetectorRecipe()),
    "tiny": (DetectorConfig.tiny(), DetectorRecipe(batch=2, side=64, val_scenes=2, max_steps=4)),
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
    """Train for ``minutes`` and write ``detector.safetensors`` and ``.json`` into ``out``.

    Args:
        data: Folder of aligned faces with labels (see ``dataset``) whose ``landmarks.npz`` also
            holds ``facemesh`` [n, 468, 2]: the boxes.
        teachers: Not read: the labels are in the data folder.
        out: Folder of the weights; ``detector.training.safetensors`` there is for ``resume``.
        minutes: Wall-clock length.
        seed: Of all draws; the number of steps still depends on the machine.
        preset: ``default`` or ``tiny``.
        resume: A ``detector.training.safetensors`` to start from.

    Returns:
        The record that was written as JSON.
    """
    config, recipe = PRESETS[preset]
    torch.manual_seed(seed)
    cv2.setNumThreads(1)
    faces, mesh = read_faces(data, with_labels=True), read_mesh(data)
    model = load_training(Detector(replace(config, norm=True)), resume)
    scenes = SceneMaker(Crops(faces, mesh, faces.train), recipe.side, seed)

    def step() -> dict[str, Tensor]:
        return losses_of([scenes.draw() for _ in range(recipe.batch)], model)

    said = faces.describe() | {"kind": "scenes of aligned synthetic faces on other backgrounds"}
    run = Run("detector", out, asdict(config), asdict(recipe), said, seed, resume is not None)

    def save(progress: Progress) -> dict[str, object]:
        metrics = evaluate(model, Crops(faces, mesh, faces.val), recipe)
        return run.save(model, progress, metrics)

    model.train()
    schedule = Schedule(minutes, recipe.peak, checkpoint_s=400, max_steps=recipe.max_steps)
    return save(optimise(model.parameters(), step, schedule, lambda p: save(p) and None))


def losses_of(batch: list[Scene], model: Detector) -> dict[str, Tensor]:
    """Losses of some scenes; ``loss`` is the one to minimise."""
    photo = np.stack([scene.image for scene in batch])
    tensor = torch.from_numpy(photo).permute(0, 3, 1, 2).float() / 127.5 - 1  # channels last
    h, w = photo.shape[1] // STRIDE, photo.shape[2] // STRIDE
    targets = [cell_targets(scene, h, w) for scene in batch]
    heat, asked, place, weight = (
        torch.from_numpy(np.stack([t[i] for t in targets])) for i in range(4)
    )
    # bfloat16 convolutions take half the time on a CPU that has them; the losses stay fp32.
    with torch.autocast("cpu", torch.bfloat16):
        raw = model.raw(tensor)
    score, distance = detector_loss(raw.float(), heat, asked, place, weight)
    return {"loss": score + distance, "score": score, "place": distance}


def cell_targets(scene: Scene, rows: int, columns: int) -> tuple[Array, Array, Array, Array]:
    """What each cell of the map should say.

    A face's heat is a Gaussian whose width grows with the face, 1 at the cell nearest to the
    centre (CenterNet, arXiv:1904.07850, section 3). Cells above half heat also learn the place,
    with a total weight of 1 per face, so that large faces do not outvote small ones.

    Returns:
        ``heat`` [rows, columns] in [0, 1]; ``asked`` [rows, columns], 0 where a hidden face makes
        the right answer unclear; ``place`` [14, rows, columns] as in ``Detector.raw``;
        ``weight`` [rows, columns].
    """
    heat = np.zeros((rows, columns), np.float32)
    asked = np.ones((rows, columns), np.float32)
    place = np.zeros((CHANNELS - 1, rows, columns), np.float32)
    weight = np.zeros((rows, columns), np.float32)
    offset = (STRIDE - 1) / 2
    xs = np.arange(columns, dtype=np.float32) * STRIDE + offset
    ys = np.arange(rows, dtype=np.float32)[:, None] * STRIDE + offset
    for box, points, counted in zip(scene.boxes, scene.points, scene.counted, strict=True):
        centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        spread = np.maximum(0.6 * STRIDE, 0.12 * sides)
        gauss = np.exp(
            -(((xs - centre[0]) / spread[0]) ** 2 + ((ys - centre[1]) / spread[1]) ** 2) / 2
        )
        if not counted:
            asked[gauss > 0.05] = 0
            continue
        peak = np.unravel_index(gauss.argmax(), gauss.shape)
        gauss[peak] = 1
        near = (gauss > 0.5) & (gauss > heat)
        place[0][near] = ((centre[0] - xs) / sides[0] + 0 * ys)[near]
        place[1][near] = ((centre[1] - ys) / sides[1] + 0 * xs)[near]
        place[2][near], place[3][near] = np.log(sides / STRIDE)
        for i, (x, y) in enumerate(points):
            place[4 + 2 * i][near] = ((x - xs) / sides[0] + 0 * ys)[near]
            place[5 + 2 * i][near] = ((y - ys) / sides[1] + 0 * xs)[near]
        weight[near] = gauss[near] / gauss[near].sum()
        heat = np.maximum(heat, gauss)
    asked[heat == 1] = 1
    return heat, asked, place, weight


def detector_loss(
    raw: Tensor,  # [n, 15, h, w]
    heat: Tensor,  # [n, h, w]
    asked: Tensor,  # [n, h, w]
    place: Tensor,  # [n, 14, h, w]
    weight: Tensor,  # [n, h, w]
) -> tuple[Tensor, Tensor]:
    """Score loss (CenterNet's focal loss, alpha 2, beta 4) and L1 of box and points, per face."""
    logit = raw[:, 0]
    probability = torch.sigmoid(logit)
    positive = (heat == 1).float()
    hit = functional.logsigmoid(logit) * (1 - probability) ** 2 * positive
    miss = functional.logsigmoid(-logit) * probability**2 * (1 - heat) ** 4 * (1 - positive)
    faces = positive.sum().clamp(min=1)
    score = -((hit + miss) * asked).sum() / faces
    # Each face's cells sum to 1; centre and sides count as much as the five points together.
    error = (raw[:, 1:] - place).abs()
    distance = 2.5 * error[:, :4].mean(1) + 5 * error[:, 4:].mean(1)
    return score, (distance * weight).sum() / weight.sum().clamp(min=1)


def evaluate(model: Detector, crops: Crops, recipe: DetectorRecipe) -> dict[str, float]:
    """Recall, false positives and point error on scenes of faces that were not trained on."""
    scenes = SceneMaker(crops, recipe.side, seed=0)
    run = runner(model)
    faces = found = false = 0
    errors: list[float] = []
    for scene in (scenes.draw() for _ in range(recipe.val_scenes)):
        faces += int(scene.counted.sum())
        for face in detect(run, scene.image, long_sides=(recipe.side,)):
            which = _nearest(scene, (face.box[:2] + face.box[2:]) / 2)
            if which is None:
                false += 1
            elif scene.counted[which]:
                found += 1
                eyes = float(np.linalg.norm(scene.points[which, 0] - scene.points[which, 1]))
                distance = np.linalg.norm(face.points - scene.points[which], axis=1)
                errors.append(float(distance.mean()) / max(eyes, 1.0))
    return {
        "scenes": float(recipe.val_scenes),
        "faces": float(faces),
        "recall": found / max(faces, 1),
        "false_per_scene": false / recipe.val_scenes,
        "median_point_error_of_eye_distance": float(np.median(errors)) if errors else math.nan,
    }


def runner(model: Detector) -> Engine:
    """The model as the callable that ``vera.face.detect.detect`` takes; leaves it in eval mode."""
    model.eval()

    def run(photo: Array) -> tuple[Array, Array, Array]:
        with torch.inference_mode():
            scores, boxes, points = model(torch.from_numpy(photo))
        return scores.numpy(), boxes.numpy(), points.numpy()

    return run


def _nearest(scene: Scene, centre: npt.NDArray[np.float64]) -> int | None:
    """The face whose box has this centre, to a third of its longer side."""
    if not len(scene.boxes):
        return None
    away = np.linalg.norm((scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2 - centre, axis=1)
    away /= (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1)
    best = int(np.argmin(away))
    return best if away[best] < 1 / 3 else None
