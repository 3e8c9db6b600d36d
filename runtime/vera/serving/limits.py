"""What a request may ask for, checked before anything of a photograph is decoded."""

from collections.abc import Sequence

from vera.bundle import Bundle
from vera.errors import UsageError
from vera.files.photo import pixel_count
from vera.identity.inversion import InversionConfig
from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import Limits
from vera.wire.tensors import Tensors

# The longest polygons and everything else that is text; far more than any client of ours sends.
_OPTIONS_BYTES = 1_000_000


def check_sizes(tensors: Tensors, limits: Limits) -> None:
    """Refuses what is too large even to be parsed.

    Raises:
        UsageError: More or longer texts, photographs, masks or people than ``limits`` allow.
    """
    longest = {"OPTIONS": _OPTIONS_BYTES}
    for name, value in tensors.items():
        if not isinstance(value, list):
            if value.nbytes > limits.bytes:
                raise UsageError(
                    f"{name} has {value.nbytes} bytes, more than the {limits.bytes} taken here; "
                    "send fewer."
                )
            continue
        if len(value) > max(1, limits.photos):
            raise _too_many(name, len(value), limits)
        # Base64 text is a third longer than what it stands for, which is then measured itself.
        allowed = longest.get(name, limits.bytes * 4 // 3 + 4)
        size = max(map(len, value), default=0)
        if size > allowed:
            raise UsageError(f"{name} has {size} bytes, more than the {allowed} taken here.")


def check_request(request: WireRequest, limits: Limits, bundle: Bundle) -> None:
    """Refuses what goes beyond this server, or wants another bundle.

    Raises:
        UsageError: With the limit that is passed.
    """
    if request.bundle is not None and request.bundle != bundle.digest:
        raise UsageError(
            f"The server has bundle {bundle.digest[:12]}, and another one was asked for; ask for "
            "this one or find the server that has yours."
        )
    if len(request.photos) > limits.photos:
        raise _too_many("PHOTOS", len(request.photos), limits)
    settings = request.settings
    if settings.variants > limits.variants:
        raise UsageError(
            f"{settings.variants} variants were asked for, but this server gives {limits.variants} "
            "at most; ask again with another seed for more."
        )
    steps = InversionConfig.suited(bundle, settings.steps).steps
    if steps > limits.steps:
        raise UsageError(
            f"{steps} steps were asked for, but this server takes {limits.steps} at most; set "
            "'steps'."
        )
    for number, photo in enumerate(request.photos, 1):
        _check_photo(f"Photo {number}", photo, limits)


def _check_photo(name: str, photo: WirePhoto, limits: Limits) -> None:
    sent: Sequence[tuple[str, bytes]] = [(name, photo.data)]
    if photo.mask is not None:
        sent = [*sent, (f"The mask of {name.lower()}", photo.mask)]
    for what, data in sent:
        if len(data) > limits.bytes:
            raise UsageError(
                f"{what} has {len(data)} bytes, more than the {limits.bytes} taken here; send it "
                "smaller."
            )
        raw = photo.shape if data is photo.data else None
        pixels = raw[0] * raw[1] if raw else pixel_count(data)
        if pixels is None or pixels > limits.pixels:
            count = "far" if pixels is None else f"{pixels} pixels,"
            raise UsageError(
                f"{what} has {count} more than the {limits.pixels} pixels taken here; send it "
                "smaller."
            )


def _too_many(name: str, count: int, limits: Limits) -> UsageError:
    return UsageError(
        f"{name} holds {count}, but this server takes {limits.photos} photographs at most; send "
        "fewer of the case."
    )
