"""Whether something is let go by whoever held it, and not by the garbage collector later on."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_S = 10


@contextmanager
def without_collector() -> Iterator[None]:
    """What is in a cycle stays for as long as this lasts."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def eventually(true: Callable[[], bool]) -> bool:
    """Whether something gets true, such as that a thread has returned from its last function."""
    until = time.monotonic() + _PATIENCE_S
    while not true() and time.monotonic() < until:
        time.sleep(0.001)
    return true()
