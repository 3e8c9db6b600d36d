"""Errors as text: the name of the class in :mod:`vera.errors`, a colon, the sentence."""

from typing import Literal

from vera import errors
from vera.errors import EngineError, RefusedError, ServerError, VeraError

# Status of the KServe protocol, as Triton's Python back end names it.
Code = Literal["UNAVAILABLE", "INVALID_ARG", "CANCELLED", "INTERNAL"]

_CODES: dict[type[VeraError], Code] = {
    errors.BusyError: "UNAVAILABLE",
    errors.UsageError: "INVALID_ARG",
    errors.ShapeError: "INVALID_ARG",
    errors.PhotoError: "INVALID_ARG",
    errors.CancelledError: "CANCELLED",
    errors.DeadlineError: "CANCELLED",
}
_SENT = (*_CODES, errors.OutputError, errors.BundleError, EngineError, ServerError)
_BY_NAME = {kind.__name__: kind for kind in _SENT}


def to_text(error: Exception) -> str:
    """What a client is told; nothing of an exception that is not ours, which may name anything."""
    if isinstance(error, RefusedError) or not isinstance(error, VeraError):
        kind = type(error).__name__
        return f"EngineError: The server met an unexpected {kind}; see its log, then try again."
    outside = error.outside if isinstance(error, EngineError) else None
    return f"{type(error).__name__}: {outside or error}"


def code_of(error: Exception) -> Code:
    """The status that goes with it."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), "INTERNAL")


def from_text(text: str) -> VeraError:
    """The error that a server told.

    Servers may put words of their own in front; what is no error of ours is a ServerError.
    """
    found = [(text.find(f"{name}: "), name) for name in _BY_NAME if f"{name}: " in text]
    if not found:
        said = " ".join(text.split())[:300].rstrip(".") or "nothing"
        return ServerError(f"The server said: {said}; see its log.")
    start, name = min(found)
    kind: type[VeraError] = _BY_NAME[name]
    return kind(text[start + len(name) + 2 :].strip())
