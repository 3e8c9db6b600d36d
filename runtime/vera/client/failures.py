"""What goes wrong between client and server, as errors of VerA; and which of it may be repeated.

A repeated request gives the same result (the client fixes the seed), so whatever says that a server
was busy, or was lost on the way, is safe to send again.
"""

import json
from typing import Any

from vera.errors import BusyError, ServerError, UsageError, VeraError
from vera.scheduling.job import late
from vera.wire.event import plain_text
from vera.wire.failure import from_text
from vera.wire.tensors import MODEL


class LostError(ServerError):
    """A server could not be reached, or was lost on the way: a repetition may succeed."""


class MisfitError(ServerError):
    """An answer that cannot be that of the case that was sent."""


def repeatable(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, (BusyError, LostError))


def may_be_outdated(error: BaseException) -> bool:
    """Whether it can come of a server that has changed since it described itself.

    One that got another bundle takes no case for the bundle that it had.
    """
    told = isinstance(error, (UsageError, ServerError))
    return told and not isinstance(error, (LostError, MisfitError))


def unfinished() -> LostError:
    """The error of a stream that ended before the case was done."""
    return LostError(
        "The server broke off in the middle of a case; nothing came of it, so try again and look "
        "into the server's log."
    )


def misfit(what: str) -> MisfitError:
    """The error of an answer that cannot be used."""
    return MisfitError(
        f"The server's answer does not fit the case ({what}); nothing of it is used, so look into "
        "the server's log, and encrypt the way to it if it is another machine."
    )


# Pieces of Triton's own messages (server 2.51).
_DRAINING = ("no available versions", "shutting down", "exiting", "not ready", "not healthy")
_FULL = ("maximum queue size", "timeout expired")
_MISSING = ("not found", "unknown model")
_RESTRICTED = "restricted"


def told(text: str) -> VeraError:
    """The error that a server tells by text: VerA's own, or one of Triton's."""
    error = from_text(plain_text(text))
    if type(error) is not ServerError or "ServerError: " in text:
        return error
    said = text.lower()
    if any(piece in said for piece in _DRAINING):
        return BusyError("The server is closing or has just begun; try again in a while.")
    if any(piece in said for piece in _FULL):
        return BusyError("The server's queue is full; try again later.")
    if any(piece in said for piece in _MISSING):
        return ServerError(
            f"The server has no model '{MODEL}'; serve a repository made by vera-export repository."
        )
    if _RESTRICTED in said:
        return ServerError(
            "The server wants a header that was not sent, or another value of it; ask who runs it."
        )
    return error


def is_restricted(error: Any) -> bool:
    """Whether a gRPC call was turned away for want of a header; Triton then says UNAVAILABLE."""
    return _RESTRICTED in (error.details() or "").lower()


def of_rpc(error: Any, url: str) -> VeraError:
    """The error of a gRPC call that ended badly, and not because this side cancelled it."""
    import grpc

    code, details = error.code(), error.details() or ""
    error_told = told(details)
    if type(error_told) is not ServerError:
        return error_told
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return late()
        case grpc.StatusCode.CANCELLED:  # not by this side, which asks itself before
            return lost(url, details)
        case grpc.StatusCode.UNAVAILABLE:
            return error_told if is_restricted(error) else lost(url, details)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return forbidden(url)
        case grpc.StatusCode.UNIMPLEMENTED:
            return ServerError(f"What answers at {url} is no Triton server; check the address.")
    return error_told


def lost(url: str, reason: str) -> ServerError:
    """The error of a connection that failed; repeatable unless it is a matter of trust."""
    said = " ".join(plain_text(reason).split())[:200] or "no reason given"
    if "certificate" in reason.lower():
        return ServerError(
            f"The certificate of the server at {url} is not trusted ({said}); name the authority "
            "that signed it (--tls-ca)."
        )
    return LostError(
        f"The server at {url} cannot be reached or was lost ({said}); check that it runs and try "
        "again."
    )


def forbidden(url: str) -> ServerError:
    """The error of a request that was turned away at the door."""
    return ServerError(
        f"What answers at {url} does not let this request in; send the header that it wants."
    )


def of_http(error: Exception, url: str) -> VeraError:
    """The error of an HTTP exchange that failed on the way."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return lost(url, "no answer in time")
    if isinstance(error, httpx.TimeoutException):
        return late()
    return lost(url, str(error) or type(error).__name__)


def of_status(status: int, body: bytes, url: str) -> VeraError:
    """The error of an answer that is no stream of events."""
    try:
        # An error that comes first has a status, too, but is still told as an event.
        said = str(json.loads(body.strip().removeprefix(b"data:"))["error"])
    except (ValueError, LookupError, TypeError, RecursionError):
        said = ""  # of a gateway; nobody knows what such a page holds
    error = told(said)
    if type(error) is not ServerError or "ServerError: " in said:
        return error
    if status in (401, 403):
        return forbidden(url)
    if status == 404 and not said:
        return ServerError(f"What answers at {url} is no Triton server; check the address.")
    if status == 413:
        return ServerError(
            f"What answers at {url} takes no request of this size; send smaller photographs, or "
            "raise its limit."
        )
    if status in (429, 503):
        return BusyError("The server is busy or closing; try again in a while.")
    if status in (502, 504):
        return lost(url, f"HTTP {status}")
    if said:
        return error
    return ServerError(f"What answers at {url} said HTTP {status}; check the address.")
