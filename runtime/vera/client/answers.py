"""How large one answer of a server may be, before it is looked at."""

from vera.face.frame import SIDES
from vera.files.photo import PIXEL_LIMIT, pixel_count
from vera.wire.request import WireRequest

# Of an event without its image: a report with the outline of a kept region.
_TOLD_BYTES = 16_000_000

# Of a picture that cannot be made smaller a PNG file is a little larger than its pixels.
_PNG = 1.05

# For a connection that carries all kinds of cases.
MOST_BYTES = _TOLD_BYTES + int(PIXEL_LIMIT * 3 * _PNG)


def largest_answer(request: WireRequest, *, as_text: bool) -> int:
    """The most bytes that one answer to a request can have.

    Args:
        request: As it is sent.
        as_text: Whether images come as base64 text.
    """
    pixels = [SIDES[-1] ** 2]
    for photo in request.photos:
        shape = photo.shape
        pixels.append(shape[0] * shape[1] if shape else pixel_count(photo.data) or 0)
    image = int(max(pixels) * 3 * _PNG)
    return _TOLD_BYTES + (image * 4 // 3 if as_text else image)
