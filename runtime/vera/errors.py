"""The exceptions of VerA: one root, so that one clause catches everything that is ours.

    VeraError
    ├── UsageError          the request itself makes no sense (unknown region, nothing left to
    anonymise) ├── ShapeError          an array has the wrong shape, dtype or range (also a
    ValueError) ├── PhotoError          a photograph or a mask cannot be read, or is not what we
    take ├── RefusedError        the photograph was read, but must not be written; carries a
    machine-readable reason ├── OutputError         a result could not be written
    ├── BundleError         a bundle is missing, damaged or of another contract
    └── EngineError         an engine failed while it ran

Every message is one sentence or two: what is wrong, what was got, what to do.
"""


class VeraError(Exception):
    """Root of all errors raised on purpose by this package."""


class UsageError(VeraError):
    """The request makes no sense; nothing was read."""


class ShapeError(VeraError, ValueError):
    """An array has the wrong shape, dtype or range."""


class PhotoError(VeraError):
    """A photograph or mask cannot be read."""


class RefusedError(VeraError):
    """A photograph must not be written.

    Attributes:
        reason: Stable short name for machines, such as ``"no-face"``.
    """

    def __init__(self, reason: str, message: str) -> None:
        """``reason`` for machines, ``message`` for people."""
        super().__init__(message)
        self.reason = reason


class OutputError(VeraError):
    """A result could not be written."""


class BundleError(VeraError):
    """A bundle is missing, damaged or made for another contract."""


class EngineError(VeraError):
    """An engine failed while it ran."""
