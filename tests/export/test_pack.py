"""Packed training data: small, equal to its folder, and readable with next to nothing installed."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_data import TEACHERS, write_data, write_teachers

from vera.errors import UsageError
from vera_export.cli import main
from vera_export.training.dataset import read_faces
from vera_export.training.pack import write_pack
from vera_export.training.packed import FILE_NAME, Pack, read_pack
from vera_export.training.teachers import Differentiable

_ROOM = 2**17 + 8 * 6  # what the writer leaves free for the manifest


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return write_data(folder / "faces"), write_teachers(folder / "teachers")


@pytest.fixture(scope="module")
def packed(sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    write_pack(*sources, folder)
    return folder / FILE_NAME


@pytest.fixture(scope="module")
def pack(packed: Path) -> Pack:
    return read_pack(packed)


def test_faces_are_those_of_the_folder_with_labels_at_half_size(
    pack: Pack, sources: tuple[Path, Path]
) -> None:
    faces = read_faces(sources[0], with_labels=True)
    assert np.abs(pack.faces.images.astype(int) - faces.images).max() <= 2  # another decoder
    assert np.array_equal(pack.faces.labels, faces.labels[:, ::2, ::2])
    for name in ("five", "train", "val"):
        assert np.array_equal(getattr(pack.faces, name), getattr(faces, name)), name
    assert list(pack.faces.columns) == list(faces.columns)
    assert all(np.array_equal(pack.faces.columns[c], v) for c, v in faces.columns.items())
    stored = np.load(sources[0] / "embeddings.npz")["embedding"]
    assert np.array_equal(pack.embedding, stored.astype(np.float32))


@pytest.mark.parametrize("name", TEACHERS)
def test_teachers_are_those_of_the_folder_but_for_half_precision(
    name: str, pack: Pack, sources: tuple[Path, Path]
) -> None:
    channels, side = TEACHERS[name]
    x = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    ours = pack.teachers[name](x)
    theirs = Differentiable(sources[1] / f"{name}.onnx")(x)
    assert len(ours) == {"perceptual_squeezenet10": 5, "gear_age_gender": 2}.get(name, len(theirs))
    for a, b in zip(ours, theirs, strict=False):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3 * float(b.abs().max()))


def test_command_says_what_it_packed(
    sources: tuple[Path, Path], packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, teachers = map(str, sources)
    out = tmp_path / "other.pack"
    assert main(["pack", "--data", data, "--teachers", teachers, "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"faces": 6, "train": 3, "val": 3}
    assert told["images"]["encoding"] == "unchanged"
    assert told["bytes"] == out.stat().st_size
    assert told["teachers"] == list(TEACHERS)
    assert out.read_bytes() == packed.read_bytes()


def test_images_that_do_not_fit_are_encoded_again_until_they_do(
    sources: tuple[Path, Path], packed: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(packed) as archive:
        size = {info.filename: info.file_size for info in archive.infolist()}
    limit = size["arrays.npz.xz"] + _ROOM + int(0.7 * size["images.bin"])
    told = write_pack(*sources, tmp_path / "small.pack", limit)
    assert told["images"]["encoding"].startswith("webp ")
    assert told["bytes"] <= limit
    assert told["images"]["mean_psnr_db"] > 30
    small = read_pack(tmp_path / "small.pack").faces.images.astype(float)
    error = np.square(small - read_pack(packed).faces.images).mean()
    assert 10 * np.log10(255**2 / error) > 30


def test_too_small_a_limit_is_a_sentence(sources: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        write_pack(*sources, tmp_path / "small.pack", 1000)
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_size_are_refused(sources: tuple[Path, Path], tmp_path: Path) -> None:
    data = write_data(tmp_path / "faces", size=128)
    with pytest.raises(UsageError, match="256 px are packed, got 128 x 128"):
        write_pack(data, sources[1], tmp_path / "small.pack")


def test_damaged_pack_is_refused(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="is damaged or no pack"):
        read_pack(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"no archive")
    with pytest.raises(UsageError, match="is damaged or no pack"):
        read_pack(tmp_path)
    with pytest.raises(UsageError, match="There is no pack"):
        read_pack(tmp_path / "missing")


def test_pack_of_another_format_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / FILE_NAME, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        read_pack(tmp_path)


_BARE = """
import sys
for name in ("cv2", "onnx", "onnxruntime", "safetensors", "scipy", "vera._C"):
    sys.modules[name] = None  # importing it raises ImportError
from pathlib import Path
import torch
from vera_export.training.packed import read_pack
pack = read_pack(Path(sys.argv[1]))
x = torch.rand(1, 3, 112, 112, requires_grad=True)
pack.teachers["identity_mobilefacenet"](x)[0].square().sum().backward()
print(len(pack.faces.images), bool(x.grad.abs().sum() > 0))
"""


def test_pack_is_read_with_numpy_pillow_and_torch_alone(packed: Path) -> None:
    command = [sys.executable, "-c", _BARE, str(packed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "6 True\n", done.stderr


def test_images_in_a_pack_are_whole_files_but_for_their_common_start(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        stream = archive.read("images.bin")
    start = bytes.fromhex(manifest["image_start"])
    with Image.open(io.BytesIO(start + stream[: manifest["image_bytes"][0]])) as image:
        assert (image.format, image.size) == ("JPEG", (256, 256))
    assert sum(manifest["image_bytes"]) == len(stream)
