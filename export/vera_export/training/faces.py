"""Aligned training faces in memory, whatever they were read from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

ATTRIBUTE_COLUMNS = (
    *("yaw", "pitch", "roll", "mouth_open", "female", "age", "sharpness"),
    *(f"p_{name}" for name in contract.EXPRESSIONS),
)


@dataclass(frozen=True)
class Faces:
    """Aligned faces in memory; every array has one row per face.

    Attributes:
        images: uint8 [n, s, s, 3] RGB.
        labels: uint8 class map: [n, s, s] from a data folder, [n, 128, 128] from a pack, [n, 0, 0]
            where not asked for.
        five: float32 [n, 5, 2] x y in pixels of ``images``.
        columns: Numeric columns of the index, float32 [n] each.
        train: Rows of the training split.
        val: Rows of the validation split.
    """

    images: Bytes
    labels: Bytes
    five: Float
    columns: dict[str, Float]
    train: npt.NDArray[np.int64]
    val: npt.NDArray[np.int64]

    def describe(self) -> dict[str, object]:
        """What was trained on, without any path."""
        return {
            "kind": "aligned synthetic faces with machine-made labels",
            "size_px": int(self.images.shape[1]),
            "train": len(self.train),
            "val": len(self.val),
        }
