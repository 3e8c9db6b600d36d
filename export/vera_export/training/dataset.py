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
from vera_export.training.faces import ATTRIBUTE_COLUMNS, Bytes, Faces, Float

__all__ = [
    "ATTRIBUTE_COLUMNS",
    "Faces",
    "Table",
    "existing",
    "read_faces",
    "read_labels",
    "read_table",
]


@dataclass(frozen=True)
class Table:
    """What a data folder says of its faces, without the pictures; see :class:`Faces`.

    Attributes:
        ids: Stems of the image and label files.
        five: float32 [n, 5, 2] x y in pixels of the image files.
        columns: Numeric columns of the index, float32 [n] each.
        train: Rows of the training split.
        val: Rows of the validation split.
    """

    ids: list[str]
    five: Float
    columns: dict[str, Float]
    train: npt.NDArray[np.int64]
    val: npt.NDArray[np.int64]


def read_table(data: Path, limit: int | None = None) -> Table:
    """Read index and landmarks of a data folder; ``limit`` keeps the first rows only.

    Raises:
        UsageError: A file of the layout is missing.
    """
    with existing(data / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    with np.load(existing(data / "landmarks.npz")) as archive:
        five = archive["five"][: len(rows)].astype(np.float32)
    split = np.array([row["split"] for row in rows])
    return Table(
        [row["id"] for row in rows],
        five,
        {c: np.array([float(row[c]) for row in rows], np.float32) for c in ATTRIBUTE_COLUMNS},
        np.flatnonzero(split == "train"),
        np.flatnonzero(split == "val"),
    )


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
    table = read_table(data, limit)
    images = _stack(data / "images", [f"{name}.jpg" for name in table.ids], _decode_rgb)
    native = images.shape[1]
    labels = np.empty((len(table.ids), 0, 0), np.uint8)
    if with_labels:
        labels = read_labels(data, table.ids, size)
    if size != native:
        images = _resize(images, size, cv2.INTER_AREA)
    return Faces(
        images,
        labels,
        (table.five + 0.5) * (size / native) - 0.5,  # pixel centres are at integers
        table.columns,
        table.train,
        table.val,
    )


def read_labels(data: Path, ids: list[str], size: int) -> Bytes:
    """Class maps uint8 [n, size, size] of these faces.

    Raises:
        UsageError: A file is missing or cannot be decoded.
    """
    labels = _stack(data / "labels", [f"{name}.png" for name in ids], _decode_grey)
    return labels if labels.shape[1] == size else _resize(labels, size, cv2.INTER_NEAREST)


def existing(path: Path) -> Path:
    """``path``, a file of the data folder.

    Raises:
        UsageError: It is not there.
    """
    if not path.is_file():
        raise UsageError(
            f"The data folder has no {path.name}; pass a folder in the described layout."
        )
    return path


def _decode_rgb(path: Path) -> Bytes:
    image = cv2.imread(str(existing(path)), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError(f"{path.name} in the data folder is not an image that can be decoded.")
    return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


def _decode_grey(path: Path) -> Bytes:
    image = cv2.imread(str(existing(path)), cv2.IMREAD_GRAYSCALE)
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
