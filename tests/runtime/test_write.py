"""Results are written whole or not at all, and say that they were altered."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vera.errors import OutputError, ShapeError
from vera.files.write import is_lossy, prepare_folder, remove_leftovers, write_image, write_text


def _image(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_png_holds_every_pixel(tmp_path: Path) -> None:
    write_image(tmp_path / "out.png", _image())
    with Image.open(tmp_path / "out.png") as picture:
        assert np.array_equal(np.asarray(picture), _image())
    assert _names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("name", ["out.jpg", "out.JPEG"])
def test_jpeg_is_close_and_called_lossy(tmp_path: Path, name: str) -> None:
    y, x = np.mgrid[0:40, 0:56]
    smooth = np.stack([x * 4, y * 6, 255 - x * 3], axis=-1).astype(np.uint8)
    write_image(tmp_path / name, smooth)
    with Image.open(tmp_path / name) as picture:
        assert np.abs(np.asarray(picture).astype(int) - smooth).max() <= 8
        assert all(layer[1:3] == (1, 1) for layer in picture.layer)  # full colour resolution
    assert is_lossy(tmp_path / name)
    assert not is_lossy(tmp_path / "out.png")


@pytest.mark.parametrize("name", ["out.png", "out.jpg"])
def test_image_is_marked_as_altered_and_holds_nothing_else(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, _image())
    with Image.open(tmp_path / name) as picture:
        picture.load()
        packet = picture.info["xmp"]
        known = {"Software", "DigitalSourceType", "XML:com.adobe.xmp", "xmp", "srgb"}
        known |= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert set(picture.info) <= known
        assert not picture.getexif()
    assert b"compositeWithTrainedAlgorithmicMedia" in packet
    assert b"VerA" in packet


def test_png_names_its_source_type_in_plain_text(tmp_path: Path) -> None:
    write_image(tmp_path / "out.png", _image())
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.text["Software"].startswith("VerA")
        assert picture.text["DigitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")


def test_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", _image())
    write_image(tmp_path / "b.png", _image())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_text_is_written_in_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "report.json", '{"sentence": "größer"}')
    assert (tmp_path / "report.json").read_bytes() == '{"sentence": "größer"}'.encode()


def test_earlier_file_is_replaced(tmp_path: Path) -> None:
    write_image(tmp_path / "out.png", _image(1))
    write_image(tmp_path / "out.png", _image(2))
    with Image.open(tmp_path / "out.png") as picture:
        assert np.array_equal(np.asarray(picture), _image(2))


@pytest.mark.parametrize("suffix", [".gif", ""])
def test_other_format_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match=r"use \.png or \.jpg"):
        write_image(tmp_path / f"out{suffix}", _image())
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_no_image_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"uint8 \[h, w, 3\]"):
        write_image(tmp_path / "out.png", image)


def _fails(error: OSError) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_earlier_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_image(tmp_path / "out.png", _image(1))
    before = (tmp_path / "out.png").read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", _fails(full))
    else:
        monkeypatch.setattr(Path, "replace", _fails(full))
    with pytest.raises(OutputError, match=r"disk of .* is full; free some space"):
        write_image(tmp_path / "out.png", _image(2))
    assert _names(tmp_path) == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == before


def test_write_that_the_system_breaks_off_is_reported_and_left_clean(tmp_path: Path) -> None:
    # A limit on the size of files breaks off a real write half-way, as a full disk does.
    program = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from vera.errors import OutputError
from vera.files.write import write_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = Path(sys.argv[1])
try:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    write_image(folder / "out.png", noise)
except OutputError as error:
    print(error)
print([path.name for path in folder.iterdir()])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    sentence, left = done.stdout.splitlines()
    assert "cannot be written" in sentence
    assert left == "[]"


def test_interruption_leaves_nothing_and_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "out.png", _image())
    assert _names(tmp_path) == []


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_forbidden_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = PermissionError(errno.EACCES, "Permission denied")
    really = Path.open

    def open_here(path: Path, *args: object, **options: object) -> object:
        if path.is_relative_to(tmp_path):  # root may write everywhere
            raise forbidden
        return really(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_here)
    with pytest.raises(OutputError, match="may not be written; check its permissions"):
        write_image(tmp_path / "out.png", _image())


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; create it first"):
        write_text(tmp_path / "absent" / "report.json", "{}")


def test_prepared_folder_exists_and_is_empty(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert _names(tmp_path / "a" / "b") == []
    prepare_folder(tmp_path / "a" / "b")


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        prepare_folder(tmp_path / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare_folder(tmp_path / "out" / "deeper")


def test_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", _fails(OSError(errno.EROFS, "Read-only file system")))
    with pytest.raises(OutputError, match="may not be written"):
        prepare_folder(tmp_path)


def test_full_folder_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", _fails(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OutputError, match="is full"):
        prepare_folder(tmp_path)


def _dead_process() -> int:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    return process.pid


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f".vera-{_dead_process()}-0123456789abcdef.png").write_bytes(b"half")
    (tmp_path / ".vera-notes").write_text("the user's own")
    (tmp_path / "out.png").write_bytes(b"whole")
    assert remove_leftovers(tmp_path) == 1
    assert _names(tmp_path) == [".vera-notes", "out.png"]


def test_file_of_a_running_process_stays_until_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / f".vera-{os.getppid()}-0123456789abcdef.png"
    path.write_bytes(b"being written")
    assert remove_leftovers(tmp_path) == 0
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    assert remove_leftovers(tmp_path) == 1


def test_killed_writer_leaves_only_what_the_next_run_removes(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from vera.files.write import write_text
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_text(Path(sys.argv[1]) / "report.json", "{}")
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert [name.startswith(".vera-") for name in _names(tmp_path)] == [True]
    assert remove_leftovers(tmp_path) == 1
    assert _names(tmp_path) == []
