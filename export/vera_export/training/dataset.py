"""A folder of aligned training faces, read into memory.

Layout: ``index.csv`` (one row per face; columns ``id``, ``split`` and numeric attributes),
``images/<id>.jpg``, ``labels/<id>.png``, ``landmarks.npz`` (``five`` [n, 5, 2]) and
``embeddings.npz``; row k of the arrays belongs to row k of the index.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vera import contract
from vera.errors import UsageError

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
        labels: uint8 [n, s, s] class map, or [n, 0, 0] where not asked for.
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


def read_faces(
    data: Path,
    size: int = contract.CROP_SIZE,
    *,
    with_labels: bool = False,
    limit: int | None = None,
) -> Faces:
    """Read a data folder at ``size`` pixels; ``limit`` keeps the first rows only.

    Raises:
        UsageError: A file of the layout is missing or cannot be decoded.
    """
    rows = _read_index(data)[:limit]
    with np.load(_existing(data / "landmarks.npz")) as archive:
        five = archive["five"][: len(rows)].astype(np.float32)
    images = _stack(data / "images", [f"{r['id']}.jpg" for r in rows], _decode_rgb)
    native = images.shape[1]
    scale = size / native
    labels = np.empty((len(rows), 0, 0), np.uint8)
    if with_labels:
        labels = _stack(data / "labels", [f"{r['id']}.png" for r in rows], _decode_grey)
    if size != native:
        images = _resize(images, size, cv2.INTER_AREA)
        labels = _resize(labels, size, cv2.INTER_NEAREST) if with_labels else labels
    split = np.array([r["split"] for r in rows])
    return Faces(
        images,
        labels,
        (five + 0.5) * scale - 0.5,  # pixel centres are at integers
        {c: np.array([float(r[c]) for r in rows], np.float32) for c in ATTRIBUTE_COLUMNS},
        np.flatnonzero(split == "train"),
        np.flatnonzero(split == "val"),
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(
            f"The data folder has no {path.name}; pass a folder in the described layout."
        )
    return path


def _read_index(data: Path) -> list[dict[str, str]]:
    with _existing(data / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _decode_rgb(path: Path) -> Bytes:
    image = cv2.imread(str(_existing(path)), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError(f"{path.name} in the data folder is not an image that can be decoded.")
    return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


def _decode_grey(path: Path) -> Bytes:
    image = cv2.imread(str(_existing(path)), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise UsageError(f"{path.name} in the data folder is not an image that can be decoded.")
    return image.astype(np.uint8, copy=False)


def _stack(folder: Path, names: list[str], decode: Callable[[Path], Bytes]) -> Bytes:
    first = decode(folder / names[0])
    out = np.empty((len(names), *first.shape), np.uint8)
    for k, name in enumerate(names):
        out[k] = decode(folder / name)
    return out


def _resize(stack: Bytes, size: int, interpolation: int) -> Bytes:
    out = np.empty((len(stack), size, size, *stack.shape[3:]), np.uint8)
    for k, image in enumerate(stack):
        out[k] = cv2.resize(image, (size, size), interpolation=interpolation)
    return out
