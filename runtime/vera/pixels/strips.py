"""Portions of an image: floats made strip by strip never take a whole photograph's memory."""

from collections.abc import Iterator

_ROWS = 128


def strips(height: int) -> Iterator[slice]:
    """Slices of rows that together cover ``height``."""
    for top in range(0, height, _ROWS):
        yield slice(top, min(height, top + _ROWS))
