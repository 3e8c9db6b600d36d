"""Reading photographs and masks: every still format to sRGB, and one sentence for every bad file.

Pillow decodes. What this module adds is the decision what a file means: turned upright, in sRGB, on
white, and never a half-decoded picture.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vera.errors import PhotoError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

# Above the largest cameras in use (medium format: 150 megapixels); an image of this size takes 0.6
# GB.
PIXEL_LIMIT = 200_000_000

# Only these decoders are tried: fewer parsers for a hostile file to reach.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")

# A file's content in place of its path, and the name that messages then give it.
PhotoSource = Path | bytes
IN_MEMORY = Path("photograph")

# Pillow keeps its pixel limit, and Python its warning filters, in globals.
_PILLOW_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded photograph.

    Attributes:
        image: uint8 [h, w, 3], sRGB, upright.
        warnings: What was changed while reading, as sentences without the file's name.
    """

    image: npt.NDArray[np.uint8]
    warnings: tuple[str, ...]


def read_photo(source: PhotoSource, *, pixel_limit: int = PIXEL_LIMIT) -> Photo:
    """Read one photograph as upright sRGB on white.

    Args:
        source: A JPEG, PNG, TIFF, BMP, WebP or single-frame GIF file, or the bytes of one.
        pixel_limit: Largest width x height taken; checked from the header, before decoding.

    Raises:
        PhotoError: The file is missing, no image, truncated, animated or above the limit.
    """
    notes: list[str] = []
    path = _label(source)
    with _decoded(source, pixel_limit, notes) as picture:
        flat = _to_srgb(_reduce_depth(picture, path, notes), path, notes)
        return Photo(np.array(flat, dtype=np.uint8), tuple(notes))


def read_mask(
    source: PhotoSource, size: tuple[int, int], *, pixel_limit: int = PIXEL_LIMIT
) -> npt.NDArray[np.bool_]:
    """Read a mask file: True where the photograph is to be kept.

    A file with two values keeps the larger one, so 0/1, 0/255 and palette masks all work; a file
    with more values keeps the brighter half of its range.

    Args:
        source: An image file of the photograph's size, or the bytes of one.
        size: Height and width of the photograph, after its EXIF rotation.
        pixel_limit: As in :func:`read_photo`.

    Returns:
        bool [h, w] with at least one True.

    Raises:
        PhotoError: As in :func:`read_photo`; or another size; or nothing is marked.
    """
    path = _label(source)
    with _decoded(source, pixel_limit, []) as picture:
        values = _mask_values(picture)
        if values.shape != size:
            raise PhotoError(
                f"The mask '{path}' is {values.shape[1]} x {values.shape[0]} pixels but the "
                f"photograph is {size[1]} x {size[0]}; save the mask at the size of the upright "
                "photograph."
            )
    # Marked by value, not by brightness, where only two values exist: a 0/1 mask looks black.
    low, high = int(values.min()), int(values.max())
    two_valued = low < high and bool(np.all((values == low) | (values == high)))
    half = 32768 if values.dtype == np.uint16 else 128
    kept = values == high if two_valued else values >= half
    if not kept.any():
        raise PhotoError(
            f"The mask '{path}' marks nothing; paint the region to keep white on black."
        )
    return kept


def pixel_count(content: bytes) -> int | None:
    """Width x height of an image file by its header; nothing is decoded.

    Returns:
        0 for what is no image that is taken here; None for more than Pillow opens without its
        limit lifted (178,956,970), and for what does not even fit into memory as a file. Not lifted
        here: the limit is global, and this may be called while another thread decodes.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            return picture.width * picture.height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        return None
    except Exception:  # decoders raise nearly anything on damaged data
        return 0


def _label(source: PhotoSource) -> Path:
    return IN_MEMORY if isinstance(source, bytes) else source


@contextmanager
def _decoded(source: PhotoSource, pixel_limit: int, notes: list[str]) -> Iterator["Image.Image"]:
    """The picture in a file, fully decoded and upright; every failure becomes a PhotoError."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    path = _label(source)
    if not isinstance(source, bytes):
        _check_file(source)
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, truncated = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            with Image.open(opened, formats=_FORMATS) as picture:
                _check_header(picture, path, pixel_limit, notes)
                _note_wide_colour(picture, notes)
                picture.load()
                yield _upright(picture, notes)
        except PhotoError:
            raise
        except PermissionError as error:
            raise PhotoError(f"'{path}' may not be read; check its permissions.") from error
        except UnidentifiedImageError as error:
            raise PhotoError(
                f"'{path}' is not an image that is taken here, or is damaged at its start; use "
                "JPEG, PNG, TIFF, BMP or WebP."
            ) from error
        except MemoryError as error:
            raise PhotoError(f"'{path}' does not fit into memory; make it smaller.") from error
        except Exception as error:  # decoders raise nearly anything on damaged data
            raise PhotoError(
                f"'{path}' is damaged or cut short ({_reason(error)}); copy it again."
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, truncated


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # the whole text would name the file
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise PhotoError(f"'{path}' is a folder, not a photograph; name the file in it.")
        if not path.exists():
            raise PhotoError(f"There is no file '{path}'; check the path.")
        if not path.is_file():
            raise PhotoError(f"'{path}' is not a regular file; name a photograph on disk.")
        if path.stat().st_size == 0:
            raise PhotoError(f"'{path}' is empty (0 bytes); copy it again from its source.")
    except PermissionError as error:
        raise PhotoError(f"'{path}' may not be read; check its permissions.") from error
    except OSError as error:  # such as a name that is too long
        raise PhotoError(
            f"'{path}' cannot be opened ({error.strerror}); check the path."
        ) from error


def _check_header(picture: "Image.Image", path: Path, pixel_limit: int, notes: list[str]) -> None:
    pixels = picture.width * picture.height
    if pixels > pixel_limit:
        raise PhotoError(
            f"'{path}' has {picture.width} x {picture.height} pixels, more than the limit of "
            f"{pixel_limit}; make it smaller or raise the limit."
        )
    # Not how many: for that the decoders of TIFF and GIF go through all of the file.
    if not getattr(picture, "is_animated", False):
        return
    if picture.format == "MPO":  # what many cameras write: the photograph and a preview behind it
        notes.append("The file holds further pictures behind the first; only the first was used.")
        return
    raise PhotoError(
        f"'{path}' is animated or has several pages; save the one to be anonymised as a file of "
        "its own."
    )


def _upright(picture: "Image.Image", notes: list[str]) -> "Image.Image":
    from PIL import ImageOps

    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception:  # damaged EXIF raises many types; the pixels are fine
        notes.append("The EXIF data is damaged; the photograph was taken as it is stored.")
    return picture


_REDUCED = "The photograph has 16 bits per channel; it was reduced to 8 bits."


def _note_wide_colour(picture: "ImageFile.ImageFile", notes: list[str]) -> None:
    """Pillow reduces 16-bit colour by itself; before decoding, its raw mode still tells."""
    tile = picture.tile[0].args if picture.tile else None
    raw_mode = tile[0] if isinstance(tile, tuple) and tile else tile
    if not picture.mode.startswith("I") and isinstance(raw_mode, str) and ";16" in raw_mode:
        notes.append(_REDUCED)


def _reduce_depth(picture: "Image.Image", path: Path, notes: list[str]) -> "Image.Image":
    """Grey to 8 bits per channel."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        notes.append(_REDUCED)
        wide = np.asarray(picture).astype(np.uint32)
        return _with_profile(Image.fromarray(((wide + 128) // 257).astype(np.uint8)), picture)
    if picture.mode in ("I", "F"):
        raise PhotoError(
            f"'{path}' has 32-bit pixels of unknown range; save it with 8 or 16 bits per channel."
        )
    return picture


def _with_profile(converted: "Image.Image", source: "Image.Image") -> "Image.Image":
    if "icc_profile" in source.info:
        converted.info["icc_profile"] = source.info["icc_profile"]
    return converted


def _mask_values(picture: "Image.Image") -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """One value per pixel: the index of a palette, else the brightest channel, on black."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("P", "L"):
        return np.array(picture, dtype=np.uint8)
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    values = np.asarray(picture.convert("RGBA"))
    brightest: npt.NDArray[np.uint8] = values[..., :3].max(axis=2)
    # Transparent parts of a mask drawn on its own layer are not marked.
    return np.where(values[..., 3] >= 128, brightest, np.uint8(0))


def _to_srgb(picture: "Image.Image", path: Path, notes: list[str]) -> "Image.Image":
    """RGB picture in sRGB on white, from any mode with 8 bits per channel."""
    if picture.mode not in _MODES:
        raise PhotoError(
            f"'{path}' stores colours as {picture.mode}, which is not taken here; save it as RGB."
        )
    alpha = None
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
    if picture.mode not in ("L", "CMYK"):
        picture = _with_profile(picture.convert("RGB"), picture)
    if "icc_profile" in picture.info:
        picture = _apply_profile(picture, notes)
    elif picture.mode == "CMYK":
        notes.append("The CMYK photograph has no colour profile; its colours are approximate.")
    flat = picture.convert("RGB")
    return flat if alpha is None else _on_white(flat, alpha, notes)


def _apply_profile(picture: "Image.Image", notes: list[str]) -> "Image.Image":
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        space = source.profile.xcolor_space.strip()
        if space == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        if space == "RGB" and picture.mode == "L":  # grey pixels under a colour profile are common
            picture = picture.convert("RGB")
        converted = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        notes.append("The colour profile is damaged and was ignored; colours may be off.")
        return picture
    return picture if converted is None else converted


def _on_white(flat: "Image.Image", alpha: "Image.Image", notes: list[str]) -> "Image.Image":
    from PIL import Image

    if alpha.getextrema()[0] == 255:
        return flat
    notes.append("The photograph has transparent parts; they were put on white.")
    white = Image.new("RGB", flat.size, (255, 255, 255))
    white.paste(flat, mask=alpha)
    return white
