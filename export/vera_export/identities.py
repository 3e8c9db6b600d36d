"""The bank of identities: latents of synthetic people, from which new identities are mixed.

Nothing of a real person is in it, and no training image: only codes, and what is needed to choose
among them (skin colour, age, pose, embedding).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vera import contract
from vera.pixels.align import ARCFACE, crop_matrix, to_tensor, warp_to_crop
from vera_export.models.encoder import Encoder
from vera_export.models.generator import Generator
from vera_export.registry import load_network
from vera_export.training.batches import Batches
from vera_export.training.dataset import Faces

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BankConfig:
    """How people are chosen for the bank."""

    count: int = 512
    yaw_limit: float = 25.0  # degrees: a donor seen from the side has no far cheek to give
    smallest_ears: float = (
        0.008  # share of the crop; a donor whose ears are hidden has none to give
    )
    seed: int = 0


@torch.no_grad()
def build_identities(
    data: Path, weights: Path, out: Path, config: BankConfig | None = None
) -> dict[str, int]:
    """Encodes chosen training faces and writes ``identities.npz``.

    Args:
        data: Folder of aligned training faces.
        weights: Folder with encoder, generator and embedder ``.safetensors``.
        out: File to write: codes float16 [m, 32, 64], skin float32 [m, 3] (mean Lab of the
            generated skin), female, age, yaw float32 [m], embedding float16 [m, 128] of the
            generated face, mean and std float32 [32, 64] of these codes.
        config: Selection; None for the defaults.

    Returns:
        How many people the bank holds.
    """
    cfg = config or BankConfig()
    batches = Batches(data, cfg.seed)
    encoder = Encoder.load(weights / "encoder.safetensors")
    generator = Generator.load(weights / "generator.safetensors")
    embedder = load_network(weights, "embedder")
    faces = batches.faces
    rows = _choose(faces, cfg)
    latents = _encode(encoder, batches, rows)
    skin, embedding = [], []
    for start in range(0, len(rows), 16):
        image, segmentation, _ = generator(latents[start : start + 16])
        pixels = ((image.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy().astype(np.uint8)
        labels = segmentation.argmax(1).numpy()
        skin += [_skin_colour(p, m) for p, m in zip(pixels, labels, strict=True)]
        points = faces.five[rows[start : start + 16]]
        embedding.append(_embed(embedder, pixels, points))
    _write(out, latents.numpy(), np.stack(skin), np.concatenate(embedding), faces.columns, rows)
    return {"people": len(rows)}


def _encode(encoder: Encoder, batches: Batches, rows: npt.NDArray[np.int64]) -> torch.Tensor:
    out = []
    for start in range(0, len(rows), 32):
        batch = batches.rows(torch.from_numpy(rows[start : start + 32]))
        out.append(encoder(batch.crop, batch.onehot))
    return torch.cat(out)


def _choose(faces: Faces, cfg: BankConfig) -> npt.NDArray[np.int64]:
    train, columns = faces.train, faces.columns
    ears = (faces.labels[train] == contract.CLASSES.index("ear")).mean((1, 2))
    suited = (np.abs(columns["yaw"][train]) < cfg.yaw_limit) & (ears >= cfg.smallest_ears)
    suited &= columns["age"][train] >= 22  # the age estimates err: stay clear of minors
    order = np.random.default_rng(cfg.seed).permutation(train[suited])
    return np.sort(order[: cfg.count])


def _skin_colour(image: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Float:
    lab = cv2.cvtColor(
        cv2.resize(image, labels.shape[::-1]).astype(np.float32) / 255, cv2.COLOR_RGB2LAB
    )
    colour: Float = lab[labels == contract.CLASSES.index("skin")].mean(0).astype(np.float32)
    return colour


def _embed(embedder: nn.Module, images: npt.NDArray[np.uint8], points: Float) -> Float:
    crops = [
        warp_to_crop(image, crop_matrix(five.astype(np.float64), ARCFACE), ARCFACE.size)
        for image, five in zip(images, points, strict=True)
    ]
    faces = torch.from_numpy(np.concatenate([to_tensor(crop) for crop in crops]))
    result: Float = embedder(faces).numpy()
    return result


def _write(
    out: Path,
    codes: Float,
    skin: Float,
    embedding: Float,
    columns: dict[str, Float],
    rows: npt.NDArray[np.int64],
) -> None:
    temporary = out.with_name(f".{out.name}.part.npz")
    np.savez_compressed(
        temporary,
        codes=codes.astype(np.float16),
        skin=skin,
        female=columns["female"][rows],
        age=columns["age"][rows],
        yaw=columns["yaw"][rows],
        embedding=embedding.astype(np.float16),
        mean=codes.mean(0),
        std=codes.std(0),
    )
    temporary.replace(out)
