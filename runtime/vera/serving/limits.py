"""What a request may ask for, checked before anything of a photograph is decoded."""

from vera.bundle import Bundle
from vera.errors import UsageError
from vera.files.photo import pixel_count
from vera.identity.inversion import InversionConfig
from vera.settings import Settings
from vera.wire.request import WireRequest
from vera.wire.server import Limits
from vera.wire.tensors import Tensors

# The longest polygons and everything else that is text; far more than any client of ours sends.
_OPTIONS_BYTES = 1_000_000


def check_count(name: str, count: int, limits: Limits) -> None:
    """Refuses more photographs, masks or texts than a case may have.

    Raises:
        UsageError: With the limit that is passed.
    """
    if count > max(1, limits.photos):
        raise UsageError(
            f"{name} holds {count}, but this server takes {limits.photos} photographs at most; "
            "send fewer of the case."
        )


def check_sizes(tensors: Tensors, limits: Limits) -> None:
    """Refuses what is too large even to be parsed.

    Raises:
        UsageError: More or longer texts, photographs, masks or people than ``limits`` allow.
    """
    longest = {"OPTIONS": _OPTIONS_BYTES}
    total = 0
    for name, value in tensors.items():
        if not isinstance(value, list):
            if value.nbytes > limits.bytes:
                raise UsageError(
                    f"{name} has {value.nbytes} bytes, more than the {limits.bytes} taken here; "
                    "send fewer."
                )
            continue
        check_count(name, len(value), limits)
        # Base64 text is a third longer than what it stands for, which is then measured itself.
        allowed = longest.get(name, _as_text(limits.bytes))
        size = max(map(len, value), default=0)
        if size > allowed:
            raise UsageError(f"{name} has {size} bytes, more than the {allowed} taken here.")
        total += 0 if name == "OPTIONS" else sum(map(len, value))
    if total > _as_text(limits.case_bytes) + 8 * limits.photos:
        raise _too_large(total, limits)


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
    check_count("PHOTOS", len(request.photos), limits)
    _check_settings(request.settings, limits, bundle)
    if request.size > limits.case_bytes:
        raise _too_large(request.size, limits)
    pixels = 0
    for number, photo in enumerate(request.photos, 1):
        pixels += _checked_pixels(f"Photo {number}", photo.data, photo.shape, limits)
        if photo.mask is not None:
            _checked_pixels(f"The mask of photo {number}", photo.mask, None, limits)
    variants = request.settings.variants
    if pixels * variants > limits.case_pixels:
        raise UsageError(
            f"The case has {pixels} pixels and {variants} variants, together more than the "
            f"{limits.case_pixels} pixels made here; send fewer or smaller photographs, or ask for "
            "fewer variants."
        )


def _check_settings(settings: Settings, limits: Limits, bundle: Bundle) -> None:
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


def _checked_pixels(
    what: str, data: bytes, shape: tuple[int, int, int] | None, limits: Limits
) -> int:
    """Pixels of a photograph or mask by its header; 0 of what cannot be read."""
    if len(data) > limits.bytes:
        raise UsageError(
            f"{what} has {len(data)} bytes, more than the {limits.bytes} taken here; send it "
            "smaller."
        )
    pixels = shape[0] * shape[1] if shape else pixel_count(data)
    if pixels is None or pixels > limits.pixels:
        count = "far" if pixels is None else f"{pixels} pixels,"
        raise UsageError(
            f"{what} has {count} more than the {limits.pixels} pixels taken here; send it smaller."
        )
    return pixels


def _too_large(size: int, limits: Limits) -> UsageError:
    return UsageError(
        f"The photographs and masks of the case have {size} bytes, more than the "
        f"{limits.case_bytes} taken here; send fewer or smaller ones."
    )


def _as_text(size: int) -> int:
    """How long as many bytes are as base64 text, or more by a little."""
    return size * 4 // 3 + 4
