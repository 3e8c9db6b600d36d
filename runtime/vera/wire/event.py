"""What a server tells while it works, one response each."""

import base64 as base64_text
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vera.check import Row
from vera.errors import ServerError
from vera.report import PhotoReport
from vera.wire.reports import report_of
from vera.wire.server import ServerContract
from vera.wire.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a case is.

    Attributes:
        stage: Its name.
        fraction: Of the whole case, in [0, 1].
    """

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True, eq=False)
class ResultEvent:
    """One photograph in one variant.

    Attributes:
        index: Its place; variants outermost.
        count: How many results the case has.
        report: What was done.
        image: PNG file, or RGB bytes of ``shape``; None if refused.
        shape: [h, w, 3] of the image.
        person: float32 [e], if it was asked for.
    """

    index: int
    count: int
    report: PhotoReport
    image: bytes | None = field(default=None, repr=False)
    shape: tuple[int, int, int] | None = None
    person: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """The server's contract."""

    server: ServerContract


@dataclass(frozen=True, slots=True)
class Checked:
    """What a deep check found."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of a stream that ended well.

    Attributes:
        queue_s: Seconds that the case waited for a slot.
        work_s: Seconds in the slot.
        steps: Gradient steps of its inversions.
    """

    queue_s: float = 0.0
    work_s: float = 0.0
    steps: int = 0


Event = Progress | ResultEvent | Described | Checked | Done

# What JSON of another shape raises; of numbers it is those too large for a float.
_NO_EVENT = (
    *(LookupError, TypeError, ValueError, AttributeError),
    *(ArithmeticError, RecursionError),
)


def to_tensors(
    event: Event, *, base64: bool = False
) -> dict[str, list[bytes] | npt.NDArray[np.float32]]:
    """The tensors of an event; with ``base64`` its image is text."""
    tensors: dict[str, list[bytes] | npt.NDArray[np.float32]] = {
        "EVENT": [json.dumps(_told(event), allow_nan=False).encode()]
    }
    if isinstance(event, ResultEvent):
        if event.image is not None:
            image = base64_text.b64encode(event.image) if base64 else event.image
            tensors["IMAGE"] = [image]
        if event.person is not None:
            tensors["PERSON"] = np.ascontiguousarray(event.person, np.float32)
    return tensors


def _told(event: Event) -> dict[str, Any]:
    match event:
        case Progress():
            return {"event": "progress", "stage": event.stage, "fraction": event.fraction}
        case ResultEvent():
            shape = None if event.shape is None else list(event.shape)
            told = {"event": "result", "index": event.index, "count": event.count}
            return {**told, "shape": shape, "report": asdict(event.report)}
        case Described():
            return {"event": "described", "server": event.server.to_json()}
        case Checked():
            rows = [[row.name, row.value, row.ok] for row in event.rows]
            return {"event": "checked", "rows": rows}
        case Done():
            return {"event": "done", **asdict(event)}


def from_tensors(tensors: Tensors, *, base64: bool = False) -> Event:
    """The event in these tensors.

    Raises:
        ServerError: It is none.
    """
    try:
        given = tensors["EVENT"][0]
        return _event(_printable(json.loads(given)), tensors, base64)
    except _NO_EVENT as error:
        raise ServerError(
            "The server sent an event that is not understood; update the older of client and "
            "server."
        ) from error


def plain_text(text: str) -> str:
    """A server's words without what a terminal would obey: control and direction characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _printable(told: Any) -> Any:
    """Parsed JSON whose texts may be shown."""
    if isinstance(told, str):
        return plain_text(told)
    if isinstance(told, list):
        return [_printable(one) for one in told]
    if isinstance(told, dict):
        return {plain_text(name): _printable(value) for name, value in told.items()}
    return told


def _event(told: Mapping[str, Any], tensors: Tensors, base64: bool) -> Event:
    match told["event"]:
        case "progress":
            return Progress(str(told["stage"]), float(told["fraction"]))
        case "result":
            return _result(told, tensors, base64)
        case "described":
            return Described(ServerContract.from_json(told["server"]))
        case "checked":
            return Checked(tuple(Row(str(n), str(v), bool(ok)) for n, v, ok in told["rows"]))
        case "done":
            return Done(float(told["queue_s"]), float(told["work_s"]), _whole(told["steps"]))
        case _:
            raise ValueError("an unknown event")


def _result(told: Mapping[str, Any], tensors: Tensors, base64: bool) -> ResultEvent:
    images = tensors.get("IMAGE")
    image = images[0] if isinstance(images, list) and images else None
    if image is not None and base64:
        try:
            image = base64_text.b64decode(image, validate=True)
        except binascii.Error as error:
            raise ValueError("no base64") from error
    shape = told["shape"]
    person = tensors.get("PERSON")
    return ResultEvent(
        index=_whole(told["index"]),
        count=_whole(told["count"]),
        report=report_of(told["report"]),
        image=image,
        shape=None if shape is None else _shape(shape),
        person=person if isinstance(person, np.ndarray) else None,
    )


def _shape(told: Any) -> tuple[int, int, int]:
    height, width, channels = map(_whole, told)
    return height, width, channels


def _whole(number: Any) -> int:
    if type(number) is not int:  # a bool is one, too, and 1.5 would be made one
        raise TypeError("no whole number")
    return number
