"""A case that may be cancelled from another thread while a call of it runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vera.scheduling.job import cancelled


class Cancellation:
    """Whether a case is cancelled, and what then has to be broken off."""

    def __init__(self) -> None:
        """Not cancelled."""
        self.event = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Break off what runs, and let nothing begin any more."""
        with self._lock:
            self.event.set()
            calls = list(self._calls)
        for call in calls:
            call()

    def check(self) -> None:
        """Raises a CancelledError if the case is cancelled."""
        if self.event.is_set():
            raise cancelled()

    @contextmanager
    def breaking(self, off: Callable[[], object]) -> Iterator[None]:
        """While this lasts, a cancellation calls ``off``.

        Raises:
            CancelledError: It is cancelled already.
        """
        with self._lock:
            self.check()
            self._calls.append(off)
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(off)
