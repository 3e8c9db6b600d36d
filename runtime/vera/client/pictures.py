"""Pictures on the client's side of a case: the photograph that was sent, the image that came."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.client.failures import misfit
from vera.errors import PhotoError
from vera.files.photo import read_photo
from vera.wire.request import WirePhoto

Image = npt.NDArray[np.uint8]

# Other versions of a decoder, or of what converts colours, give other last bits. Grey levels.
_ROUNDED = 2

_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE = struct.Struct(">8x4x4sII")  # signature, length and name of the first chunk, its size


@dataclass(frozen=True, slots=True, eq=False)
class SentPhoto:
    """A photograph as the server sees it.

    Attributes:
        image: uint8 [h, w, 3], upright.
        tolerance: By how many grey levels another decoder may have read it differently.
    """

    image: Image
    tolerance: int


def sent_photo(photo: WirePhoto, pixel_limit: int) -> SentPhoto:
    """What was sent, decoded.

    Args:
        photo: As it was sent.
        pixel_limit: Largest number of pixels that the case takes.

    Raises:
        MisfitError: It cannot be read, so that there can be no image of it.
    """
    if photo.shape is not None:
        return SentPhoto(np.frombuffer(photo.data, np.uint8).reshape(photo.shape), 0)
    try:
        image = read_photo(photo.data, pixel_limit=pixel_limit).image
    except PhotoError as error:
        raise misfit("an image of a photograph that cannot be read") from error
    return SentPhoto(image, 0 if _is_exact(photo.data) else _ROUNDED)


def _is_exact(data: bytes) -> bool:
    """Whether every decoder reads the same pixels: lossless, and without a colour profile."""
    if data.startswith(b"BM"):
        return True
    return data.startswith(_PNG_BEGIN) and b"iCCP" not in data[: data.find(b"IDAT")]


def received(data: bytes, shape: tuple[int, int, int], images: str) -> Image:
    """The image of a result: uint8 of ``shape``, which is the one that is expected.

    Args:
        data: RGB bytes, or a PNG file. Its header is looked at before it is decoded.
        shape: [h, w, 3].
        images: ``"raw"`` or ``"png"``.

    Raises:
        MisfitError: It is none of this shape.
    """
    height, width, _ = shape
    if images == "raw":
        if len(data) != height * width * 3:
            raise misfit("an image that does not have its shape")
        return np.frombuffer(data, np.uint8).reshape(shape).copy()
    if len(data) < _PNG_SIZE.size or not data.startswith(_PNG_BEGIN):
        raise misfit("an image that is no PNG file")
    if _PNG_SIZE.unpack_from(data) != (b"IHDR", width, height):
        raise misfit("an image that does not have its shape")
    try:
        # Holds Pillow's lock: its own guard is off while another thread decodes a photograph.
        image = read_photo(data, pixel_limit=height * width).image
    except PhotoError as error:
        raise misfit("an image that cannot be decoded") from error
    if image.shape != shape:  # turned by metadata
        raise misfit("an image that does not have its shape")
    return image
