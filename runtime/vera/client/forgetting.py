"""Errors that hold no photographs.

An exception holds its traceback, that the frames it came through, and those their variables: what
was sent, and what had come of it. A repeated call and the future that an error ends in even make it
a ring, which stays until Python looks for rings.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from vera.scheduling.job import forget_frames


@contextmanager
def forgetting() -> Iterator[None]:
    """What leaves this block as an error has forgotten the variables of the calls within it."""
    try:
        yield
    except BaseException as error:
        forget_frames(error)
        raise
