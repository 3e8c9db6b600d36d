"""Pictures inside a page: scaled down and written into the text."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from vera.errors import PhotoError
from vera.files.photo import read_photo

_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be shown.

    Attributes:
        uri: ``data:image/jpeg;base64,...``, scaled down.
        width: Of the file, not of what is shown.
        height: Of the file.
    """

    uri: str
    width: int
    height: int


def embed(path: Path | None, side: int) -> Picture | None:
    """The picture in ``path``, upright; None if there is none or it cannot be read.

    Args:
        path: An image file.
        side: Longest side in pixels; smaller pictures stay as they are.
    """
    from PIL import Image

    if path is None:
        return None
    try:
        image = read_photo(path).image
    except PhotoError:
        return None
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=_QUALITY)
    text = base64.b64encode(encoded.getbuffer()).decode()
    return Picture(f"data:image/jpeg;base64,{text}", image.shape[1], image.shape[0])
