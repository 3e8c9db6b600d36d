"""The events of a case, made into its results."""

import io
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vera.case.request import Result
from vera.client.failures import unfinished
from vera.client.outgoing import Outgoing
from vera.errors import ServerError
from vera.wire.event import Done, Event, Progress, ResultEvent


class Incoming:
    """Collects what a server tells of one case, over all attempts.

    A repeated attempt tells the same again: what is here already is passed over, and progress never
    goes back.
    """

    def __init__(self, sent: Outgoing) -> None:
        """Nothing has come yet."""
        self._sent = sent
        self._photos = len(sent.request.photos)
        self._count = self._photos * sent.request.settings.variants
        self._results: dict[int, Result] = {}
        self._fraction = 0.0
        self._done: Done | None = None

    def take(self, event: Event) -> Event | Result | None:
        """What is new in an event: progress, a result or the end; None if nothing is.

        Raises:
            ServerError: The event does not belong to this case.
        """
        match event:
            case Progress():
                if event.fraction < self._fraction:
                    return None
                self._fraction = event.fraction
                return event
            case ResultEvent():
                if event.index in self._results:
                    return None
                self._results[event.index] = result = self._result(event)
                return result
            case Done():
                self._done = event
                return event
        raise _misfit("an event that no case has")

    def results(self) -> list[Result]:
        """All results in their order.

        Raises:
            LostError: The stream ended before the case was done.
        """
        if self._done is None:
            raise unfinished()
        if len(self._results) != self._count:
            raise _misfit(f"{len(self._results)} results instead of {self._count}")
        return [self._results[i] for i in range(self._count)]

    def _result(self, event: ResultEvent) -> Result:
        if event.count != self._count or not 0 <= event.index < self._count:
            raise _misfit(f"{event.count} results instead of {self._count}")
        report = event.report
        if (report.verdict == "anonymized") != (event.image is not None):
            raise _misfit("a verdict that its image contradicts")
        known = self._sent.known.get((event.index % self._photos, report.reason or ""))
        if known is not None:
            report = replace(report, message=known)
        if event.image is None:
            return Result(None, report)
        if event.shape is None:
            raise _misfit("an image without a shape")
        image = _decoded(event.image, event.shape, self._sent.request.images)
        return Result(image, report, event.person)


def _decoded(data: bytes, shape: tuple[int, int, int], images: str) -> npt.NDArray[np.uint8]:
    """uint8 [h, w, 3]."""
    height, width, channels = shape
    if channels != 3 or height < 1 or width < 1:
        raise _misfit("an image of an odd shape")
    if images == "raw":
        if len(data) != height * width * 3:
            raise _misfit("an image that does not have its shape")
        return np.frombuffer(data, np.uint8).reshape(shape).copy()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.size != (width, height):
                raise _misfit("an image that does not have its shape")
            return np.array(picture.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _misfit("an image that cannot be decoded") from error


def _misfit(what: str) -> ServerError:
    return ServerError(
        f"The server answered with {what}; nothing of this case is used, so look into its log and "
        "update the older of client and server."
    )
