"""Batches for the generator: crops, part maps, attributes as tensors; light augmentation."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vera import contract
from vera_export.models.mapping import ATTRIBUTE_WIDTHS

if TYPE_CHECKING:
    from vera_export.training.faces import Faces
    from vera_export.training.packed import Pack


@dataclass(frozen=True)
class Batch:
    """Crop [n, 3, 256, 256] in [-1, 1], labels int64 [n, 128, 128], attributes by name."""

    crop: Tensor
    labels: Tensor
    attributes: dict[str, Tensor]

    @property
    def onehot(self) -> Tensor:
        """Part map as the encoder takes it, float32 [n, 13, 128, 128]."""
        return functional.one_hot(self.labels, contract.CLASS_COUNT).permute(0, 3, 1, 2).float()


class Batches:
    """Draws training batches: random rows, mirrored half of the time, light and colour varied."""

    def __init__(self, source: "Path | Pack", seed: int, device: str = "cpu") -> None:
        """Reads a data folder, or takes a pack.

        Images lie on ``device``; all draws follow ``seed``.
        """
        if isinstance(source, Path):
            from vera_export.training.dataset import read_faces

            self.faces: Faces = read_faces(source, with_labels=True)
            with np.load(source / "embeddings.npz") as archive:
                embedding = archive["embedding"].astype(np.float32)
        else:
            self.faces, embedding = source.faces, source.embedding
        self.device = device
        attributes = measured_attributes(self.faces, embedding)
        self._attributes = {name: value.to(device) for name, value in attributes.items()}
        step = self.faces.labels.shape[1] // contract.SEGMENTATION_SIZE
        labels = np.ascontiguousarray(self.faces.labels[:, ::step, ::step])
        self._labels = torch.from_numpy(labels).to(device)
        self._images = torch.from_numpy(self.faces.images).to(device)
        self._random = torch.Generator().manual_seed(seed)

    def draw(self, size: int) -> Batch:
        """A random batch of the training split."""
        rows = torch.from_numpy(self.faces.train)
        pick = rows[torch.randint(len(rows), (size,), generator=self._random)]
        batch = self.rows(pick)
        if torch.rand((), generator=self._random) < 0.5:
            batch = mirrored(batch)
        gain = 1 + 0.12 * (torch.rand(size, 3, 1, 1, generator=self._random) - 0.5)
        light = 1 + 0.5 * (torch.rand(size, 1, 1, 1, generator=self._random) - 0.5)
        light, gain = light.to(self.device), gain.to(self.device)
        bright = ((batch.crop + 1) / 2).clamp(0, 1) ** light * gain
        return Batch((bright.clamp(0, 1) * 2 - 1), batch.labels, batch.attributes)

    def rows(self, pick: Tensor) -> Batch:
        """The faces at rows ``pick`` as they are."""
        pick = pick.to(self.device)
        crop = self._images[pick].permute(0, 3, 1, 2).float() / 127.5 - 1
        attributes = {name: value[pick] for name, value in self._attributes.items()}
        return Batch(crop, self._labels[pick].long(), attributes)


def measured_attributes(
    faces: "Faces", embedding: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> dict[str, Tensor]:
    """Inputs of the high-level mapping from the columns of a data folder."""
    columns = faces.columns
    probabilities = [columns[f"p_{name}"] for name in contract.EXPRESSIONS]
    pose = np.stack([columns["yaw"], columns["pitch"], columns["roll"]], 1) / 30
    values = {
        "identity": embedding * np.sqrt(np.float32(ATTRIBUTE_WIDTHS["identity"])) / 2,
        "expression": np.stack([*probabilities, columns["mouth_open"]], 1),
        "pose": pose,
        "age": columns["age"][:, None] / 50 - 0.7,
    }
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}


def mirrored(batch: Batch) -> Batch:
    """The batch flipped left to right; yaw and roll change their sign."""
    attributes = dict(batch.attributes)
    signs = torch.tensor([-1.0, 1.0, -1.0], device=batch.crop.device)
    attributes["pose"] = attributes["pose"] * signs
    return Batch(batch.crop.flip(3), batch.labels.flip(2), attributes)
