"""A request: the photographs of a case and how they are to be anonymised, as tensors."""

import base64 as base64_text
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from vera.errors import UsageError
from vera.key import DrawKey
from vera.request.keep import Keep
from vera.settings import NAMES, Settings
from vera.wire.tensors import PROTOCOL, Tensors

Task = Literal["anonymize", "describe", "check"]
Images = Literal["png", "raw"]

_TASKS = ("anonymize", "describe", "check")
_IMAGES = ("png", "raw")
_NUMBERS: dict[str, tuple[type, ...]] = {
    "steps": (int,),
    "pixel_limit": (int,),
    "variants": (int,),
    "separation": (int, float),
    "preserve": (list,),
}
_KINDS = {name: _NUMBERS.get(name, (str,)) for name in NAMES}
_ASK = "send it as docs/protocol.md says"


@dataclass(frozen=True, slots=True)
class WirePhoto:
    """One photograph.

    Attributes:
        data: Bytes of an image file, or RGB bytes [h, w, 3] if ``shape`` is given.
        keep: ``"none"``, regions or polygons as text; never a path.
        mask: Bytes of a mask file in ``keep``'s place.
        shape: Of a raw image.
    """

    data: bytes = field(repr=False)
    keep: str = "none"
    mask: bytes | None = field(default=None, repr=False)
    shape: tuple[int, int, int] | None = None

    def image(self) -> npt.NDArray[np.uint8] | bytes:
        """As :meth:`vera.Anonymizer.anonymize` takes it."""
        if self.shape is None:
            return self.data
        return np.frombuffer(self.data, np.uint8).reshape(self.shape)

    def kept(self) -> Keep | bytes:
        """As :meth:`vera.Anonymizer.anonymize` takes it, without opening anything."""
        return Keep.parse(self.keep, files=False) if self.mask is None else self.mask


@dataclass(frozen=True, slots=True, eq=False)
class WireRequest:
    """What a client asks for.

    Attributes:
        task: ``"describe"`` and ``"check"`` need nothing else.
        photos: Of one case.
        settings: The controls.
        seed: Of all draws; None with a key.
        key: In the seed's place.
        people: float32 [m, e], none of whom may come out.
        deadline_s: Seconds that the case may take, from its arrival.
        images: How results come back.
        base64: Whether all bytes are base64 text.
        progress: Whether progress is told.
        persons: Whether the new person's embedding is told.
        bundle: Digest of the only bundle that will do.
    """

    task: Task = "anonymize"
    photos: tuple[WirePhoto, ...] = ()
    settings: Settings = field(default_factory=Settings)
    seed: int | None = None
    key: DrawKey | None = None
    people: npt.NDArray[np.float32] | None = None
    deadline_s: float | None = None
    images: Images = "png"
    base64: bool = False
    progress: bool = True
    persons: bool = False
    bundle: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the photographs and masks."""
        return sum(len(photo.data) + len(photo.mask or b"") for photo in self.photos)


def to_tensors(request: WireRequest) -> dict[str, list[bytes] | npt.NDArray[np.float32]]:
    """The tensors of a request."""
    masks = [photo.mask for photo in request.photos if photo.mask is not None]
    numbers = iter(range(len(masks)))
    photos = [
        {
            "keep": photo.keep,
            "mask": None if photo.mask is None else next(numbers),
            "shape": None if photo.shape is None else list(photo.shape),
        }
        for photo in request.photos
    ]
    options = {
        "protocol": PROTOCOL,
        "task": request.task,
        "photos": photos,
        "base64": request.base64,
        "images": request.images,
        "settings": dict(request.settings.options()),
        "seed": request.seed,
        "key": None if request.key is None else request.key.value.hex(),
        "deadline_s": request.deadline_s,
        "progress": request.progress,
        "persons": request.persons,
        "bundle": request.bundle,
        "people": None if request.people is None else len(request.people),
    }
    tensors: dict[str, list[bytes] | npt.NDArray[np.float32]] = {
        "OPTIONS": [json.dumps(options, allow_nan=False).encode()]
    }
    if request.photos:
        tensors["PHOTOS"] = [_sent(photo.data, request.base64) for photo in request.photos]
    if masks:
        tensors["MASKS"] = [_sent(mask, request.base64) for mask in masks]
    if request.people is not None:
        tensors["PEOPLE"] = np.ascontiguousarray(request.people, np.float32)
    return tensors


def from_tensors(tensors: Tensors) -> WireRequest:
    """The request in these tensors; nothing of a photograph is decoded.

    Raises:
        UsageError: It is none.
    """
    options = _options(tensors)
    if options.get("protocol") != PROTOCOL:
        raise UsageError(
            f"The server speaks protocol {PROTOCOL}, got {_shown(options.get('protocol'))}; update "
            "the older of client and server."
        )
    is_text = _flag(options, "base64", False)
    return WireRequest(
        task=cast(Task, _choice(options, "task", _TASKS, "anonymize")),
        photos=_photos(tensors, options, is_text),
        settings=_settings(_given(options, "settings", {})),
        seed=_seed(options.get("seed")),
        key=_key(options.get("key")),
        people=_people(tensors.get("PEOPLE"), options.get("people")),
        deadline_s=_seconds(options.get("deadline_s")),
        images=cast(Images, _choice(options, "images", _IMAGES, "png")),
        base64=is_text,
        progress=_flag(options, "progress", True),
        persons=_flag(options, "persons", False),
        bundle=_text(options, "bundle"),
    )


def _sent(data: bytes, as_text: bool) -> bytes:
    return base64_text.b64encode(data) if as_text else data


def _received(data: bytes, as_text: bool, name: str) -> bytes:
    if not as_text:
        return data
    try:
        return base64_text.b64decode(data, validate=True)
    except binascii.Error as error:
        raise UsageError(f"{name} must be base64 text as 'base64' says; {_ASK}.") from error


def _options(tensors: Tensors) -> Mapping[str, Any]:
    given = tensors.get("OPTIONS")
    if not isinstance(given, list) or len(given) != 1:
        raise UsageError(f"A request needs one JSON object in OPTIONS; {_ASK}.")
    try:
        options = json.loads(given[0])
    except (ValueError, RecursionError) as error:
        raise UsageError(f"OPTIONS is no JSON; {_ASK}.") from error
    if not isinstance(options, dict):
        raise UsageError(f"OPTIONS must be a JSON object, got {_shown(options)}; {_ASK}.")
    return options


def _given(options: Mapping[str, Any], name: str, default: object) -> Any:
    """An option; null is as good as leaving it out."""
    value = options.get(name)
    return default if value is None else value


def _photos(tensors: Tensors, options: Mapping[str, Any], is_text: bool) -> tuple[WirePhoto, ...]:
    told = _given(options, "photos", [])
    data = _bytes_of(tensors, "PHOTOS")
    # Once each: several photographs may name one of them.
    masks = [_received(sent, is_text, "MASKS") for sent in _bytes_of(tensors, "MASKS")]
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise UsageError(f"'photos' must be a list of objects, got {_shown(told)}; {_ASK}.")
    if not told:
        told = [{} for _ in data]
    if len(told) != len(data):
        raise UsageError(
            f"PHOTOS holds {len(data)} photographs, but 'photos' describes {len(told)}; {_ASK}."
        )
    photos = []
    for number, (one, sent) in enumerate(zip(told, data, strict=True), 1):
        content = _received(sent, is_text, "PHOTOS")
        index = one.get("mask")
        if index is not None and not (type(index) is int and 0 <= index < len(masks)):
            raise UsageError(
                f"'mask' of photo {number} must be the place of one of {len(masks)} MASKS, got "
                f"{_shown(index)}; {_ASK}."
            )
        mask = None if index is None else masks[index]
        keep = one.get("keep", "none")
        if not isinstance(keep, str):
            raise UsageError(f"'keep' must be text, got {_shown(keep)}; {_ASK}.")
        Keep.parse(keep, files=False)
        photos.append(WirePhoto(content, keep, mask, _shape(one.get("shape"), content, number)))
    return tuple(photos)


def _bytes_of(tensors: Tensors, name: str) -> list[bytes]:
    given = tensors.get(name)
    if given is None:
        return []
    if not isinstance(given, list):
        raise UsageError(f"{name} must be a tensor of bytes, got numbers; {_ASK}.")
    return given


def _shape(shape: object, data: bytes, number: int) -> tuple[int, int, int] | None:
    if shape is None:
        return None
    sides = shape if isinstance(shape, list) else []
    if len(sides) != 3 or not all(type(s) is int and s > 0 for s in sides) or sides[2] != 3:
        raise UsageError(f"'shape' of photo {number} must be [h, w, 3], got {_shown(shape)}.")
    if sides[0] * sides[1] * 3 != len(data):
        raise UsageError(
            f"Photo {number} is said to be {sides} but has {len(data)} bytes; send every pixel's "
            "three."
        )
    return sides[0], sides[1], 3


def _settings(given: object) -> Settings:
    if not isinstance(given, dict):
        raise UsageError(f"'settings' must be an object, got {_shown(given)}; {_ASK}.")
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise UsageError(f"There is no setting {_shown(unknown[0])}; leave it out.")
    for name, value in given.items():
        # A bool is an int in Python, and no number of anything here.
        if value is not None and (isinstance(value, bool) or not isinstance(value, _KINDS[name])):
            raise UsageError(f"The setting '{name}' cannot be {_shown(value)}; {_ASK}.")
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _seed(seed: object) -> int | None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UsageError(f"'seed' must be a whole number, got {_shown(seed)}; {_ASK}.")
    return seed


def _key(key: object) -> DrawKey | None:
    if key is None:
        return None
    try:
        return DrawKey(bytes.fromhex(cast(str, key)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"'key' must be 64 hexadecimal digits; {_ASK}.") from error


def _people(people: object, count: object) -> npt.NDArray[np.float32] | None:
    if people is None:
        return None
    # Through Triton's HTTP JSON every tensor comes as one row.
    if isinstance(people, np.ndarray) and type(count) is int and count > 0:
        people = people.reshape(count, -1) if people.size % count == 0 else people
    if not isinstance(people, np.ndarray) or people.ndim != 2 or people.dtype != np.float32:
        raise UsageError(f"PEOPLE must be FP32 [m, e]; {_ASK}.")
    if not np.isfinite(people).all():
        raise UsageError("PEOPLE holds a number that is not finite; send embeddings as they came.")
    return people


def _seconds(seconds: object) -> float | None:
    if seconds is None:
        return None
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 < cast(float, seconds) < float("inf"):
        raise UsageError(f"'deadline_s' must be seconds above 0, got {_shown(seconds)}; {_ASK}.")
    return float(cast(float, seconds))


def _choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    value = options.get(name, default)
    if value not in choices:
        raise UsageError(f"'{name}' must be {' or '.join(choices)}, got {_shown(value)}; {_ASK}.")
    return str(value)


def _flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise UsageError(f"'{name}' must be true or false, got {_shown(value)}; {_ASK}.")
    return value


def _text(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"'{name}' must be text, got {_shown(value)}; {_ASK}.")
    return value


def _shown(value: object) -> str:
    """A value of a client's, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
