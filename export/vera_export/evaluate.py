"""How well encoder and generator reproduce held-out faces, before any gradient step."""

from pathlib import Path

import numpy as np
import torch

from vera import contract
from vera_export.models.encoder import Encoder
from vera_export.models.generator import Generator
from vera_export.training.batches import Batches


@torch.no_grad()
def evaluate_reconstruction(data: Path, weights: Path, limit: int = 214) -> dict[str, float]:
    """Figures over the validation split.

    Args:
        data: Folder of aligned faces with labels, landmarks and embeddings.
        weights: Folder with ``encoder.safetensors`` and ``generator.safetensors``.
        limit: Largest number of faces.

    Returns:
        ``l1`` (of [-1, 1]), ``psnr_db``, and for the part map at 128 px against the labels
        ``miou`` (mean over the classes that occur in at least a tenth of the faces).
    """
    batches = Batches(data, seed=0)
    encoder = Encoder.load(weights / "encoder.safetensors")
    generator = Generator.load(weights / "generator.safetensors")
    rows = torch.from_numpy(batches.faces.val[:limit])
    l1, psnr = [], []
    counts = np.zeros((3, contract.CLASS_COUNT))  # intersection, union, faces that have the class
    for pick in rows.split(8):
        batch = batches.rows(pick)
        image, segmentation, _ = generator(encoder(batch.crop, batch.onehot))
        image, found = image.clamp(-1, 1), segmentation.argmax(1)
        l1.append((image - batch.crop).abs().mean((1, 2, 3)))
        error = ((image - batch.crop) / 2).square().mean((1, 2, 3))
        psnr.append(-10 * torch.log10(error))
        for k in range(contract.CLASS_COUNT):
            ours, theirs = found == k, batch.labels == k
            counts[0, k] += int((ours & theirs).sum())
            counts[1, k] += int((ours | theirs).sum())
            counts[2, k] += int(theirs.flatten(1).any(1).sum())
    common = counts[2] >= len(rows) / 10
    return {
        "faces": float(len(rows)),
        "l1": float(torch.cat(l1).mean()),
        "psnr_db": float(torch.cat(psnr).mean()),
        "miou": float((counts[0] / np.maximum(counts[1], 1))[common].mean()),
    }
