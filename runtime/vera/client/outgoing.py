"""A case on its way to a server: files as they are, images as pixels or PNG, no name of anything.

A photograph that cannot be read here travels as no bytes at all. The server refuses it like any
other damaged file, so that the rest of the case and every report are as they would be in process;
the sentence of that refusal is the client's (:mod:`vera.client.incoming`).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from vera.case.case import Case, KeepLike, PhotoLike, open_case
from vera.case.request import CaseRequest
from vera.client.connection import Connection
from vera.errors import UsageError
from vera.files.photo import pixel_count
from vera.request.keep import Keep
from vera.settings import Settings
from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import Limits, ServerContract

# Sentences of refusals that are known before anything is sent, by the photograph's place in the
# case and the reason.
Known = dict[tuple[int, str], str]

_UNREADABLE, _UNUSABLE = "unreadable-photo", "unusable-mask"
_MOST_BYTES = 2_000_000_000  # protobuf's limit is 2^31, everything included
_PNG_LEVEL = 1  # of zlib's 1..9: it is read once and thrown away


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A case that is ready to be sent.

    Attributes:
        request: Without a deadline, which each attempt sets.
        known: Sentences of refusals.
    """

    request: WireRequest
    known: Known


def checked(asked: CaseRequest) -> Case:
    """A case with keeps, seed and key settled, and with none of its files read.

    Raises:
        UsageError: The request makes no sense.
        ShapeError: An image is not uint8 [h, w, 3].
    """
    photos = asked.photos
    if not isinstance(photos, (str, Path, bytes, np.ndarray)):  # else refused there
        photos = [one if isinstance(one, np.ndarray) else b"" for one in photos]
    return replace(asked, photos=photos).open()


def outgoing(
    asked: CaseRequest,
    case: Case,
    connection: Connection,
    server: ServerContract,
    *,
    progress: bool,
) -> Outgoing:
    """A case as it is sent.

    Args:
        asked: The case.
        case: The same, of :func:`checked`.
        connection: How images travel.
        server: What it takes, and the bundle that the case is for.
        progress: Whether progress is told.

    Raises:
        UsageError: The server takes no such case.
    """
    _check_limits(case, server.limits)
    one = isinstance(asked.keep, (str, Path, bytes, Keep, np.ndarray))
    keeps = [asked.keep] * len(asked.photos) if one else cast(Sequence[KeepLike], asked.keep)
    reader = _Reader(server.limits, raw=connection.local and connection.images != "png")
    photos = tuple(
        reader.photo(i, photo, cast(KeepLike, keep), case.photos[i].keep)
        for i, (photo, keep) in enumerate(zip(asked.photos, keeps, strict=True))
    )
    _check_size(photos)
    people = None if asked.people is None else np.asarray(asked.people, np.float32)
    request = WireRequest(
        photos=photos,
        settings=case.settings,
        seed=None if case.key is not None else case.seed,
        key=case.key,
        people=people if people is None or len(people) else None,
        images=connection.result_images,
        progress=progress,
        persons=True,
        bundle=server.bundle.digest,
    )
    return Outgoing(request, reader.known)


def _check_limits(case: Case, limits: Limits) -> None:
    for name, wanted, most in (
        ("photographs of a case", len(case.photos), limits.photos),
        ("variants", case.settings.variants, limits.variants),
        ("steps", case.settings.steps or 0, limits.steps),
    ):
        if wanted > most:
            raise UsageError(
                f"The server takes at most {most} {name}, got {wanted}; ask for less, or raise its "
                "limit."
            )


def _check_size(photos: Sequence[WirePhoto]) -> None:
    size = sum(len(photo.data) + len(photo.mask or b"") for photo in photos)
    if size > _MOST_BYTES:
        raise UsageError(
            f"The photographs of a case have {size} bytes in all, more than the {_MOST_BYTES} of "
            "one request; send fewer or smaller ones, or files instead of arrays."
        )


class _Reader:
    """Reads what is sent, and keeps the sentences of what cannot be."""

    def __init__(self, limits: Limits, *, raw: bool) -> None:
        self._limits, self._raw = limits, raw
        self.known: Known = {}

    def photo(self, place: int, photo: PhotoLike, keep: KeepLike, parsed: Keep) -> WirePhoto:
        """One photograph with what is kept of it."""
        shape = None
        if isinstance(photo, np.ndarray):
            data = self._image(place, photo)
            if self._raw and data:
                shape = (photo.shape[0], photo.shape[1], 3)
        else:
            data = self._file(place, _UNREADABLE, "photograph", photo)
        if isinstance(keep, np.ndarray) and not parsed.polygons:
            mask: bytes | None = self._mask_image(place, keep)
        elif isinstance(keep, bytes) or parsed.mask is not None:
            given = keep if isinstance(keep, bytes) else cast(Path, parsed.mask)
            mask = self._file(place, _UNUSABLE, "mask", given)
        else:
            mask = None
        return WirePhoto(data, "none" if mask is not None else keep_text(parsed), mask, shape)

    def _file(self, place: int, reason: str, what: str, source: str | Path | bytes) -> bytes:
        """Its bytes; none if it cannot be read or is too large to be sent."""
        if isinstance(source, bytes):
            size, data = len(source), source
        else:
            path = Path(source)
            try:
                # Anything but a file on disk might never end.
                size = path.stat().st_size if path.is_file() else 0
                data = path.read_bytes() if 0 < size <= self._limits.bytes else b""
            except OSError:
                size, data = 0, b""
        if size > self._limits.bytes:
            self._too_large(place, reason, what, f"{size} bytes", f"{self._limits.bytes}")
            return b""
        if not data:
            self.known[place, reason] = _reason(source, reason)
            return b""
        pixels = pixel_count(data)
        if pixels is None or pixels > self._limits.pixels:
            got = "too many pixels" if pixels is None else f"{pixels} pixels"
            self._too_large(place, reason, what, got, str(self._limits.pixels))
            return b""
        return data

    def _image(self, place: int, image: npt.NDArray[np.uint8]) -> bytes:
        pixels = image.shape[0] * image.shape[1]
        if pixels > self._limits.pixels:
            most = str(self._limits.pixels)
            self._too_large(place, _UNREADABLE, "photograph", f"{pixels} pixels", most)
            return b""
        data = image.tobytes() if self._raw else _png(image)
        if len(data) > self._limits.bytes:
            most = str(self._limits.bytes)
            self._too_large(place, _UNREADABLE, "photograph", f"{len(data)} bytes", most)
            return b""
        return data

    def _mask_image(self, place: int, mask: npt.NDArray[np.generic]) -> bytes:
        if mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
            self.known[place, _UNUSABLE] = (
                f"The mask must be bool [h, w] like its photograph, got {mask.dtype} "
                f"{list(mask.shape)}; make it anew for this photograph."
            )
            return b""
        return _png(mask.astype(np.uint8) * np.uint8(255))

    def _too_large(self, place: int, reason: str, what: str, got: str, most: str) -> None:
        self.known[place, reason] = (
            f"The {what} has {got}, more than the {most} that the server takes; make it smaller or "
            "raise the server's limit."
        )


def _reason(source: str | Path | bytes, reason: str) -> str:
    """Why a file cannot be read, in the words of a case in process."""
    source = source if isinstance(source, bytes) else Path(source)
    settings = Settings()
    if reason == _UNREADABLE:
        case = open_case([source], keep="none", seed=0, settings=settings)
    else:
        blank = np.zeros((1, 1, 3), np.uint8)
        case = open_case([blank], keep=source, seed=0, settings=settings)
    refusal = case.photos[0].refusal
    return str(refusal) if refusal else "A file of this case changed while it was read; try again."


def keep_text(keep: Keep) -> str:
    """A request to keep something, as text that :meth:`vera.request.keep.Keep.parse` reads back."""
    if not keep.polygons:
        return keep.name
    polygons = (
        " ".join(",".join(map(_decimal, point)) for point in polygon) for polygon in keep.polygons
    )
    return "polygon:" + ";".join(polygons)


def _decimal(number: float) -> str:
    """The shortest decimal number that is read back as this one."""
    return np.format_float_positional(number, trim="-")


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=_PNG_LEVEL)
    return encoded.getvalue()
