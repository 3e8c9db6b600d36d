"""VerA: anonymises clinical face photographs and keeps the treated region as photographed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vera.errors import (
    BundleError,
    BusyError,
    CancelledError,
    DeadlineError,
    EngineError,
    OutputError,
    PhotoError,
    RefusedError,
    ServerError,
    ShapeError,
    UsageError,
    VeraError,
)

if TYPE_CHECKING:
    from vera.anonymizer import Anonymizer, Result
    from vera.client.asynchronous import AsyncAnonymizer
    from vera.client.connection import Connection
    from vera.report import PhotoReport
    from vera.versions import __version__

__all__ = [
    "Anonymizer",
    "AsyncAnonymizer",
    "BundleError",
    "BusyError",
    "CancelledError",
    "Connection",
    "DeadlineError",
    "EngineError",
    "OutputError",
    "PhotoError",
    "PhotoReport",
    "RefusedError",
    "Result",
    "ServerError",
    "ShapeError",
    "UsageError",
    "VeraError",
    "__version__",
]

# Loaded when first asked for: the contract must be importable without the compiled extension.
_LATER = {
    "Anonymizer": "vera.anonymizer",
    "AsyncAnonymizer": "vera.client.asynchronous",
    "Connection": "vera.client.connection",
    "PhotoReport": "vera.report",
    "Result": "vera.anonymizer",
    "__version__": "vera.versions",
}


def __getattr__(name: str) -> Any:
    """Loads the public names whose modules need more than the contract."""
    if name not in _LATER:
        raise AttributeError(f"module 'vera' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
