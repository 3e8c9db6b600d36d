"""Calibration of the gate: how alike the embedder finds photographs of different people."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vera.errors import UsageError
from vera.files.photo import read_photo
from vera.pixels.align import ARCFACE, crop_matrix, to_tensor, warp_to_crop
from vera_export.registry import load_network

Float = npt.NDArray[np.float32]
# Fewer pairs do not show the tail that the threshold is read from.
_FEWEST_PAIRS = 1000


@dataclass(frozen=True)
class Calibration:
    """A threshold of the gate and where it comes from.

    Attributes:
        threshold: Cosine; originals and outputs must stay below it.
        false_accept_rate: Share of pairs of different people at or above it.
        pairs: How many pairs that was read from.
    """

    threshold: float
    false_accept_rate: float
    pairs: int


@torch.no_grad()
def calibrate(photographs: Path, weights: Path, false_accept_rate: float) -> Calibration:
    """Reads the threshold at which ``false_accept_rate`` of impostor pairs pass as one person.

    Args:
        photographs: Folder of photographs of different people and ``landmarks.json``: per
            file ``points``, five points [5, 2] in pixels.
        weights: Folder with ``embedder.safetensors``.
        false_accept_rate: In (0, 1). A larger one gives a lower, stricter threshold.

    Raises:
        UsageError: Too few photographs, no landmarks, or a rate outside (0, 1).
    """
    if not 0 < false_accept_rate < 1:
        raise UsageError(f"The false-accept rate must lie in (0, 1), got {false_accept_rate}.")
    listed = photographs / "landmarks.json"
    if not listed.is_file():
        raise UsageError(
            f"{photographs} has no landmarks.json; it gives five points per photograph."
        )
    points = json.loads(listed.read_text(encoding="utf-8"))
    model = load_network(weights, "embedder")
    faces = [_face(photographs / name, entry["points"]) for name, entry in sorted(points.items())]
    embeddings = model(torch.from_numpy(np.concatenate(faces))).numpy()
    cosines = impostor_cosines(embeddings)
    if len(cosines) < _FEWEST_PAIRS:
        raise UsageError(
            f"{len(faces)} photographs give {len(cosines)} pairs, {_FEWEST_PAIRS} are needed; "
            "add photographs of other people."
        )
    threshold = float(np.quantile(cosines, 1 - false_accept_rate))
    return Calibration(threshold, float((cosines >= threshold).mean()), len(cosines))


def impostor_cosines(embeddings: Float) -> Float:
    """Cosines of all pairs of rows of unit vectors [n, d], each pair once."""
    cosines = embeddings @ embeddings.T
    return np.asarray(cosines[np.triu_indices(len(embeddings), 1)], dtype=np.float32)


def _face(path: Path, points: list[list[float]]) -> Float:
    image = read_photo(path).image
    crop = warp_to_crop(image, crop_matrix(np.asarray(points, np.float64), ARCFACE), ARCFACE.size)
    return to_tensor(crop)
