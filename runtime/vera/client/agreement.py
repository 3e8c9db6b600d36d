"""What a client and its server must agree on before the first case is sent."""

from collections.abc import Iterable

from vera.check import Row
from vera.client.failures import unfinished
from vera.client.typed import fits
from vera.errors import ServerError
from vera.wire.event import Checked, Described, Done, Event
from vera.wire.server import ServerContract, differences

# What a server may take beyond its limit: encoding and sending.
_GRACE_S = 10.0


def at_once(server: ServerContract) -> int:
    """How many cases of a client a server is sent at once; the others wait at the client.

    Enough that no slot waits for the next case. A case that waits at the server uses up the time
    that the server gives it.
    """
    return max(min(max(2, 3 * server.slots), server.slots + server.queue), 1)


def agreed(events: Iterable[Event], url: str, bundle: str | None = None) -> ServerContract:
    """The server's contract, out of its answer to the task ``describe``.

    Args:
        events: The answer.
        url: Of the server, for the message.
        bundle: Digest of the only bundle that will do.

    Raises:
        ServerError: It differs from the client's.
    """
    # To the end: a stream that is left early counts as cancelled at the server.
    described = [event.server for event in events if isinstance(event, Described)]
    if not described:
        raise unfinished()
    if not fits(described[0], ServerContract):
        raise ServerError(
            f"The server at {url} describes itself in a way that is not understood; update the "
            "older of client and server."
        )
    found = differences(described[0], bundle)
    if found:
        raise ServerError(
            f"The server at {url} is of another kind ({'; '.join(found)}); update the older of "
            "client and server."
        )
    return described[0]


def checked(events: Iterable[Event]) -> tuple[Row, ...]:
    """The rows of the task ``check``.

    Raises:
        LostError: The stream ended before they came.
    """
    rows: tuple[Row, ...] | None = None
    ended = False
    for event in events:
        if isinstance(event, Checked):
            rows = event.rows
        ended = ended or isinstance(event, Done)
    if rows is None or not ended:
        raise unfinished()
    return rows


def longest(left: float | None, server: ServerContract | None) -> float | None:
    """Seconds that an attempt may take; without a deadline of its own the server's for a case.

    A server whose model died alone keeps the connection and never answers.
    """
    if left is not None or server is None:
        return left
    return server.limits.seconds + _GRACE_S
