"""Every kind of file a user may hand in: read right, or refused with one sentence."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageCms, ImageFile, TiffImagePlugin

from vera.errors import PhotoError
from vera.files.photo import pixel_count, read_photo


def _picture(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture without symmetries, so that a turned or mirrored one is another."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, 200 - x], axis=-1).astype(np.uint8)


def _saved(path: Path, image: np.ndarray, mode: str | None = None, **options: object) -> Path:
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def _profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_lossless_formats_are_read_to_the_pixel(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    photo = read_photo(_saved(tmp_path / f"p{suffix}", _picture(), **options))
    assert np.array_equal(photo.image, _picture())
    assert photo.image.dtype == np.uint8
    assert photo.warnings == ()


def test_jpeg_is_read(tmp_path: Path) -> None:
    photo = read_photo(_saved(tmp_path / "p.jpg", _picture(), quality=95))
    assert np.abs(photo.image.astype(int) - _picture()).mean() < 3
    assert photo.warnings == ()


def test_result_may_be_written_to(tmp_path: Path) -> None:
    photo = read_photo(_saved(tmp_path / "p.png", _picture()))
    photo.image[0, 0] = 7
    assert tuple(photo.image[0, 0]) == (7, 7, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = _picture()
    # What the camera stored, for each tag value: the inverse of what has to be done.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    path = _saved(
        tmp_path / f"p{suffix}",
        np.ascontiguousarray(stored),
        exif=exif.tobytes(),
        **options.get(suffix, {}),
    )
    image = read_photo(path).image
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).max() <= (12 if suffix == ".jpg" else 0)


def test_damaged_exif_is_a_warning(tmp_path: Path) -> None:
    path = _saved(tmp_path / "p.jpg", _picture(), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert read_photo(path).image.shape == (48, 64, 3)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = _picture()[..., 0]
    image = read_photo(_saved(tmp_path / "p.png", grey)).image
    assert np.array_equal(image, np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white_is_read(tmp_path: Path) -> None:
    image = read_photo(_saved(tmp_path / "p.png", _picture()[..., 0], "1")).image
    assert set(np.unique(image)) == {0, 255}


def test_palette_is_read_in_its_colours(tmp_path: Path) -> None:
    flat = np.zeros((8, 8, 3), np.uint8)
    flat[:, 4:] = (200, 30, 60)
    picture = Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    picture.save(tmp_path / "p.png")
    assert np.array_equal(read_photo(tmp_path / "p.png").image, flat)


def test_transparent_palette_is_put_on_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((4, 4), np.uint8), "L").convert("P")
    picture.save(tmp_path / "p.png", transparency=b"\x00\xff")
    photo = read_photo(tmp_path / "p.png")
    assert (photo.image == 255).all()
    assert "transparent" in photo.warnings[0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_put_on_white_with_a_warning(tmp_path: Path, mode: str) -> None:
    picture = Image.new(mode, (6, 4), (0,) * (len(mode) - 1) + (255,))
    picture.putpixel((0, 0), (0,) * (len(mode) - 1) + (0,))
    picture.save(tmp_path / "p.png")
    photo = read_photo(tmp_path / "p.png")
    assert tuple(photo.image[0, 0]) == (255, 255, 255)
    assert tuple(photo.image[1, 1]) == (0, 0, 0)
    assert photo.warnings == ("The photograph has transparent parts; they were put on white.",)


def test_opaque_alpha_is_no_warning(tmp_path: Path) -> None:
    photo = read_photo(_saved(tmp_path / "p.png", _picture(), "RGBA"))
    assert np.array_equal(photo.image, _picture())
    assert photo.warnings == ()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_reduced_with_a_warning(tmp_path: Path, suffix: str) -> None:
    wide = np.array([[0, 257, 32896, 65535]], np.uint16).repeat(3, axis=0)
    photo = read_photo(_saved(tmp_path / f"p{suffix}", wide))
    assert photo.image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert "16 bits" in photo.warnings[0]


def _png_16_bit(path: Path, image: np.ndarray) -> Path:
    """A colour PNG with 16 bits per channel, which Pillow can read but not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    rows = (image.astype(">u2") * 257).astype(">u2")
    raw = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    return path


def test_16_bit_colour_is_reduced_with_a_warning(tmp_path: Path) -> None:
    photo = read_photo(_png_16_bit(tmp_path / "p.png", _picture()))
    assert np.array_equal(photo.image, _picture())
    assert "16 bits" in photo.warnings[0]


def test_cmyk_without_profile_is_converted_with_a_warning(tmp_path: Path) -> None:
    red = np.full((16, 16, 3), (220, 20, 30), np.uint8)
    for suffix in (".jpg", ".tif"):  # JPEG stores CMYK inverted, as Adobe does
        photo = read_photo(_saved(tmp_path / f"p{suffix}", red, "CMYK"))
        assert np.abs(photo.image.astype(int) - red).max() <= 4
        assert "CMYK" in photo.warnings[0]


def _wide_profile() -> bytes:
    """The sRGB profile with red and green exchanged: seen at once if it is used."""
    named = _profile("sRGB").replace(b"s\x00R\x00G\x00B", b"t\x00e\x00s\x00t")
    profile = named.replace(b"sRGB", b"test")
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def test_colour_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    red = np.full((8, 8, 3), (230, 20, 20), np.uint8)
    photo = read_photo(_saved(tmp_path / "p.png", red, icc_profile=_wide_profile()))
    assert photo.image[0, 0, 1] > 200 > 60 > photo.image[0, 0, 0]
    assert photo.warnings == ()


def test_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    path = _saved(tmp_path / "p.png", _picture(), icc_profile=_profile("sRGB"))
    assert np.array_equal(read_photo(path).image, _picture())


def test_grey_with_colour_profile_is_read(tmp_path: Path) -> None:
    grey = _picture()[..., 0]
    photo = read_photo(_saved(tmp_path / "p.png", grey, icc_profile=_profile("sRGB")))
    assert np.array_equal(photo.image[..., 1], grey)
    assert photo.warnings == ()


def test_damaged_colour_profile_is_a_warning(tmp_path: Path) -> None:
    photo = read_photo(_saved(tmp_path / "p.png", _picture(), icc_profile=b"no profile at all"))
    assert np.array_equal(photo.image, _picture())
    assert "profile is damaged" in photo.warnings[0]


def test_camera_preview_behind_the_photograph_is_left_out(tmp_path: Path) -> None:
    first = Image.fromarray(_picture())
    first.save(tmp_path / "p.jpg", "MPO", save_all=True, append_images=[first.resize((8, 6))])
    photo = read_photo(tmp_path / "p.jpg")
    assert photo.image.shape == (48, 64, 3)
    assert "further pictures" in photo.warnings[0]


# --- refused, each with its sentence


def _refused(path: Path, **options: int) -> str:
    with pytest.raises(PhotoError) as refusal:
        read_photo(path, **options)
    message = str(refusal.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no file" in _refused(tmp_path / "absent.jpg")


def test_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in _refused(tmp_path)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").touch()
    assert "is empty" in _refused(tmp_path / "p.jpg")


def test_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_text("no image at all")
    assert "is not an image" in _refused(tmp_path / "p.jpg")


def test_special_file_is_refused() -> None:
    assert "not a regular file" in _refused(Path("/dev/null"))


def test_overlong_name_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in _refused(tmp_path / ("x" * 300))


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "p.png", _picture())

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", forbidden)  # root may read everything
    assert "may not be read" in _refused(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", {"quality": 90}),
        (".jpg", {"quality": 90, "progressive": True}),
        (".png", {}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
        (".tif", {"compression": "jpeg"}),
        (".bmp", {}),
        (".webp", {"quality": 90}),
        (".gif", {}),
    ],
)
def test_truncated_file_is_refused(
    tmp_path: Path, suffix: str, options: dict[str, object], share: float
) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    path = _saved(tmp_path / f"p{suffix}", noise, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    message = _refused(path)
    assert "damaged" in message


def test_truncated_file_is_refused_whatever_the_process_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(tmp_path / "p.jpg", _picture(200, 300))
    path.write_bytes(path.read_bytes()[:-900])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "cut short" in _refused(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_animated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.full((9, 9, 3), level, np.uint8)) for level in (0, 128, 255)]
    frames[0].save(tmp_path / f"p{suffix}", save_all=True, append_images=frames[1:])
    assert "animated" in _refused(tmp_path / f"p{suffix}")


@pytest.mark.parametrize("suffix", [".gif", ".tif"])
@pytest.mark.parametrize("count", [1, 3])
def test_pages_are_not_counted_for_that_takes_all_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, count: int
) -> None:
    pages = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (0, 128, 255)[:count]]
    path = tmp_path / f"p{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])

    def counted(_: object) -> int:
        raise AssertionError("went through all pages")

    for decoder in (GifImagePlugin.GifImageFile, TiffImagePlugin.TiffImageFile):
        monkeypatch.setattr(decoder, "n_frames", property(counted))
    if count == 1:
        assert read_photo(path).image.shape == (9, 9, 3)
    else:
        assert "several pages" in _refused(path)


def test_file_whose_header_takes_all_memory_is_beyond_every_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise MemoryError

    assert pixel_count(b"no image") == 0
    monkeypatch.setattr(Image, "open", opened)
    assert pixel_count(b"no image") is None


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "p.tif")
    assert "32-bit" in _refused(tmp_path / "p.tif")


def test_lab_colours_are_refused(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4)).save(tmp_path / "p.tif")
    assert "as LAB" in _refused(tmp_path / "p.tif")


def test_pixel_limit_is_checked_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(tmp_path / "p.png", _picture())

    def decoded(*_: object) -> None:
        raise AssertionError("decoded although above the limit")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    assert "more than the limit of 3071" in _refused(path, pixel_limit=3071)


def test_limit_is_the_largest_size_taken(tmp_path: Path) -> None:
    path = _saved(tmp_path / "p.png", _picture())
    assert read_photo(path, pixel_limit=48 * 64).image.shape == (48, 64, 3)


def test_decompression_bomb_is_refused_without_warning(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk
    idat = b"IDAT" + zlib.compress(bytes(100_000))
    bomb += struct.pack(">I", zlib.crc32(chunk))
    bomb += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    (tmp_path / "bomb.png").write_bytes(bomb)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        assert "60000 x 60000 pixels" in _refused(tmp_path / "bomb.png")
    assert leaked == []


def test_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    read_photo(_saved(tmp_path / "p.png", _picture()))
    _refused(tmp_path / "absent.png")
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_large_photograph_within_the_limit_gives_no_pillow_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_photo(_saved(tmp_path / "p.png", _picture())).image.shape == (48, 64, 3)
