"""The exceptions of VerA: one root, so that one clause catches everything that is ours.

All are direct children of ``VeraError``: UsageError, ShapeError (also a ValueError), PhotoError,
RefusedError, OutputError, BundleError, EngineError, BusyError, CancelledError, DeadlineError and
ServerError.

Every message is one sentence or two: what is wrong, what was got, what to do.
"""


class VeraError(Exception):
    """Root of all errors raised on purpose by this package."""


class UsageError(VeraError):
    """The request itself makes no sense (unknown region, nothing to anonymise)."""


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
    """An engine failed while it ran.

    Attributes:
        outside: The sentence for clients of a server where the error's own repeats words of a
            library, which may name files; None: there are none in it.
    """

    outside: str | None = None


class BusyError(VeraError):
    """The queue is full or closing: nothing was begun, and the same request may succeed later."""


class CancelledError(VeraError):
    """The case was cancelled by whoever asked for it."""


class DeadlineError(VeraError):
    """The case was not done in the time it was given."""


class ServerError(VeraError):
    """A server cannot be reached, broke off, or is of another contract."""
