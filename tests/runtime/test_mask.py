"""Mask files: what they mark is read in every format, and a mask that marks nothing is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vera.errors import PhotoError
from vera.files.photo import read_mask


def _saved(path: Path, image: np.ndarray, mode: str | None = None, **options: object) -> Path:
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def _mask() -> np.ndarray:
    marked = np.zeros((48, 64), bool)
    marked[10:20, 30:50] = True
    return marked


@pytest.mark.parametrize("level", [1, 7, 255])
def test_two_valued_mask_keeps_the_larger_value(tmp_path: Path, level: int) -> None:
    path = _saved(tmp_path / "m.png", (_mask() * level).astype(np.uint8))
    assert np.array_equal(read_mask(path, (48, 64)), _mask())


def test_16_bit_mask_is_read(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.png", _mask().astype(np.uint16))
    assert np.array_equal(read_mask(path, (48, 64)), _mask())


def test_soft_mask_is_cut_at_one_half(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    kept = read_mask(_saved(tmp_path / "m.png", ramp), (48, 64))
    assert np.array_equal(kept, ramp >= 128)


def test_jpeg_mask_is_cut_at_one_half(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.jpg", (_mask() * 255).astype(np.uint8), quality=95)
    assert (read_mask(path, (48, 64)) == _mask()).mean() > 0.99


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA"])
def test_mask_of_other_modes_is_read(tmp_path: Path, mode: str) -> None:
    path = _saved(tmp_path / "m.png", (_mask() * 255).astype(np.uint8), mode)
    assert np.array_equal(read_mask(path, (48, 64)), _mask())


def test_palette_mask_counts_indices_not_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(_mask().astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 90, 0, 0])
    picture.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", (48, 64)), _mask())


def test_mask_on_a_transparent_layer_marks_its_paint(tmp_path: Path) -> None:
    layer = np.full((48, 64, 4), 255, np.uint8)
    layer[..., 3] = _mask() * 255
    path = _saved(tmp_path / "m.png", layer)
    assert np.array_equal(read_mask(path, (48, 64)), _mask())


def test_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.png", (_mask() * 255).astype(np.uint8))
    with pytest.raises(PhotoError, match=r"64 x 48 pixels but the photograph is 80 x 50"):
        read_mask(path, (50, 80))


def test_mask_that_marks_nothing_is_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(PhotoError, match="marks nothing"):
        read_mask(path, (48, 64))


def test_mask_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_text("text")
    with pytest.raises(PhotoError, match="is not an image"):
        read_mask(tmp_path / "m.png", (48, 64))
