"""Reads packed training data with NumPy, Pillow and torch alone, on a machine without VerA's build.

A pack is one ZIP archive with three stored members: ``manifest.json``, ``images.bin`` (the
compressed images one after the other, each without the bytes that all of them begin with) and
``arrays.npz.xz`` (everything else). :mod:`vera_export.training.pack` writes it.
"""

import hashlib
import io
import json
import lzma
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vera import contract
from vera.errors import UsageError
from vera_export.training.faces import Bytes, Faces, Float
from vera_export.training.teacher_graph import Differentiable, Graph

__all__ = ["FILE_NAME", "FORMAT", "Faces", "Pack", "read_pack"]

FILE_NAME = "faces.pack"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Pack:
    """What a pack holds.

    Attributes:
        faces: Images uint8 [n, 256, 256, 3] and labels uint8 [n, 128, 128], train and val.
        embedding: float32 [n, 128] identity embeddings of the faces, unit length.
        teachers: By file stem, on the CPU.
        manifest: Counts, encodings and hashes.
    """

    faces: Faces
    embedding: Float
    teachers: dict[str, Differentiable]
    manifest: dict[str, Any]


def read_pack(path: Path) -> Pack:
    """Read a pack, or the one in a folder; its images are decoded on all cores.

    Raises:
        UsageError: No pack there, one of another format, or a damaged one.
    """
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"There is no pack '{path}'; write one with vera-export pack.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(members["manifest.json"])
        found = manifest["format"]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise _damaged(path) from error
    if found != FORMAT:
        raise UsageError(f"The pack is of format {found}, {FORMAT} is read; pack the data again.")
    for name, wanted in manifest["sha256"].items():
        if hashlib.sha256(members.get(name, b"")).hexdigest() != wanted:
            raise _damaged(path)
    with np.load(io.BytesIO(lzma.decompress(members["arrays.npz.xz"]))) as archive:
        arrays = {name: archive[name] for name in archive.files}
    faces = Faces(
        _decode(
            members["images.bin"],
            bytes.fromhex(manifest["image_start"]),
            np.cumsum(manifest["image_bytes"]),
        ),
        arrays["labels"],
        arrays["five"].astype(np.float32),
        dict(zip(manifest["columns"], arrays["columns"], strict=True)),
        arrays["train"],
        arrays["val"],
    )
    teachers = {
        name: Differentiable(_graph(name, description, arrays))
        for name, description in manifest["teachers"].items()
    }
    return Pack(faces, arrays["embedding"].astype(np.float32), teachers, manifest)


def _damaged(path: Path) -> UsageError:
    return UsageError(f"'{path}' is damaged or no pack; write it again with vera-export pack.")


def _graph(name: str, description: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Graph:
    start = f"{name}/"
    own = {key.removeprefix(start): v for key, v in arrays.items() if key.startswith(start)}
    return Graph.described(description, own)


def _decode(stream: bytes, start: bytes, ends: npt.NDArray[np.int64]) -> Bytes:
    """uint8 [n, 256, 256, 3]; ``start`` is what all compressed images begin with."""
    side = contract.CROP_SIZE
    images = np.empty((len(ends), side, side, 3), np.uint8)

    def decode(k: int) -> None:
        begin = int(ends[k - 1]) if k else 0
        with Image.open(io.BytesIO(start + stream[begin : int(ends[k])])) as image:
            images[k] = np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(len(ends))))
    return images
