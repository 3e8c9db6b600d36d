"""Writes training data and teachers as one small file for a machine that has torch and Pillow only.

The images stay the data folder's own files, byte for byte, if they fit, and are WebP otherwise.
:mod:`vera_export.training.packed` describes the format and reads it.
"""

import hashlib
import io
import json
import lzma
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vera import contract
from vera.errors import UsageError
from vera_export.training.dataset import Table, existing, read_labels, read_table
from vera_export.training.packed import FILE_NAME, FORMAT
from vera_export.training.teacher_graph import PERCEPTUAL, RECOGNISER, Graph
from vera_export.training.teachers import read_graph

Arrays = dict[str, npt.NDArray[Any]]

LIMIT = 45 * 2**20
# Teachers that losses pass through, and how many of their first outputs are kept.
TEACHERS: dict[str, int | None] = {
    PERCEPTUAL: 5,
    RECOGNISER: None,
    "facemesh468": None,
    "emotion7": None,
    "gear_age_gender": 2,
}
# Qualities of WebP, tried when the files as they are do not fit.
QUALITIES = (92, 90, 87, 84, 80, 75, 70, 60, 50)
_LARGEST_HALF = float(np.finfo(np.float16).max)
_MANIFEST_ROOM = 2**17  # what it takes besides the lengths of the images


def write_pack(data: Path, teachers: Path, out: Path, limit: int = LIMIT) -> dict[str, Any]:
    """Pack a data folder and the teachers.

    Args:
        data: Folder in the layout of :mod:`vera_export.training.dataset`, images of 256 px.
        teachers: Folder with the ONNX files of :data:`TEACHERS`.
        out: File to write, or a folder for ``faces.pack``.
        limit: Largest size in bytes.

    Returns:
        Counts, encoding and hashes as in the manifest, names of the teachers, size in ``bytes``.

    Raises:
        UsageError: A file is missing or of another size, or nothing fits into ``limit``.
    """
    out = out if out.suffix else out / FILE_NAME
    table = read_table(data)
    graphs = {
        name: read_graph(teachers / f"{name}.onnx").first(count) for name, count in TEACHERS.items()
    }
    arrays = _compressed(_arrays(data, table, graphs))
    files = [existing(data / "images" / f"{name}.jpg") for name in table.ids]
    images, encoding = _fitting(files, limit - len(arrays) - _MANIFEST_ROOM - 8 * len(files))
    start = os.path.commonprefix(images) or b""
    stream = b"".join(image[len(start) :] for image in images)
    members = {"images.bin": stream, "arrays.npz.xz": arrays}
    told = {
        "format": FORMAT,
        "counts": {"faces": len(files), "train": len(table.train), "val": len(table.val)},
        "images": encoding,
        "sha256": {name: hashlib.sha256(value).hexdigest() for name, value in members.items()},
    }
    manifest = {
        **told,
        "image_start": start.hex(),
        "image_bytes": [len(image) - len(start) for image in images],
        "columns": list(table.columns),
        "teachers": {name: graph.describe() for name, graph in graphs.items()},
    }
    size = _write(out, {"manifest.json": json.dumps(manifest).encode(), **members})
    return {**told, "teachers": list(graphs), "bytes": size}


def _arrays(data: Path, table: Table, graphs: dict[str, Graph]) -> Arrays:
    with np.load(existing(data / "embeddings.npz")) as archive:
        embedding = archive["embedding"].astype(np.float16)
    arrays: Arrays = {
        "labels": read_labels(data, table.ids, contract.SEGMENTATION_SIZE),
        "five": table.five,
        "columns": np.stack(list(table.columns.values())),
        "train": table.train,
        "val": table.val,
        "embedding": embedding,
    }
    for name, graph in graphs.items():
        arrays |= {f"{name}/{key}": _halved(name, array) for key, array in graph.arrays.items()}
    return arrays


def _halved(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Weights as float16; shapes and widths as they are."""
    if array.dtype.kind != "f":
        return array
    if np.abs(array).max(initial=0) > _LARGEST_HALF:
        raise UsageError(f"A weight of {name} does not fit into half precision; pack without it.")
    return array.astype(np.float16)


def _compressed(arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def _fitting(files: list[Path], room: int) -> tuple[list[bytes], dict[str, Any]]:
    """The images at the best quality that fits into ``room`` bytes, and what was done to them."""
    side = contract.CROP_SIZE
    for file in files:
        with Image.open(file) as image:
            if image.size != (side, side):
                raise UsageError(
                    f"Images of {side} px are packed, got {image.width} x {image.height}; pass a "
                    "folder of aligned faces of that size."
                )
    images = [file.read_bytes() for file in files]
    if sum(map(len, images)) - len(os.path.commonprefix(images)) * len(images) <= room:
        return images, {"size_px": side, "encoding": "unchanged", "mean_psnr_db": None}
    sample = files[:: max(1, len(files) // 64)]
    for quality in QUALITIES:
        mean = sum(len(_webp(file, quality)[0]) for file in sample) / len(sample)
        if mean * len(files) > 1.05 * room:  # surely too large: the sample says enough
            continue
        encoded = [_webp(file, quality) for file in files]
        images = [content for content, _ in encoded]
        if sum(map(len, images)) <= room:
            error = float(np.mean([psnr for _, psnr in encoded]))
            encoding = {"size_px": side, "encoding": f"webp {quality}"}
            return images, {**encoding, "mean_psnr_db": round(error, 2)}
    raise UsageError(
        f"{len(files)} images do not fit into {max(room, 0)} bytes; raise the limit or pack fewer."
    )


def _webp(file: Path, quality: int) -> tuple[bytes, float]:
    """A file as WebP, and the peak signal-to-noise ratio to it in dB (100 for none)."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=6)
    with Image.open(stream) as again:
        difference = np.asarray(again.convert("RGB"), np.float64) - np.asarray(image, np.float64)
    error = max(float(np.square(difference).mean()), 255.0**2 * 1e-10)
    return stream.getvalue(), 10 * float(np.log10(255.0**2 / error))


def _write(out: Path, members: dict[str, bytes]) -> int:
    """Write the archive whole or not at all; the same members give the same bytes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    part.replace(out)
    return out.stat().st_size
