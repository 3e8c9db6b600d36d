"""Whether the model that does the cases still answers, while its server says that all is well.

Triton 2.51 goes on being ready when only the process of a decoupled model has ended, by lack of
memory or by a crash, and does not start it again.
"""

import threading
from collections.abc import Callable

from vera.client import http_messages
from vera.errors import VeraError
from vera.launch.fetch import fetch
from vera.wire.event import Described
from vera.wire.request import WireRequest, to_tensors

# A model that is gone is found out within ten seconds. One that hangs gets long: it may be a
# machine with far too much to do, and giving it up costs the cases in work.
_EVERY_S = 3.0
_PATIENCE_S = 30.0
_MISSES = 3
_MOST_BYTES = 1_000_000


class Watch:
    """Asks again and again, in a thread of its own, until nobody has answered several times.

    Attributes:
        lost: Set then.
    """

    def __init__(
        self, answers: Callable[[], bool], *, every_s: float = _EVERY_S, misses: int = _MISSES
    ) -> None:
        """Begins at once.

        Args:
            answers: Asks once.
            every_s: Seconds between two questions.
            misses: So many without an answer, one after another, are too many.
        """
        self.lost = threading.Event()
        self._ended = threading.Event()
        self._answers, self._every_s, self._misses = answers, every_s, misses
        threading.Thread(target=self._work, name="vera-serve-watch", daemon=True).start()

    def close(self) -> None:
        """Nothing is found out from now on; a question that is under way is not waited for."""
        self._ended.set()

    def _work(self) -> None:
        missed = 0
        while not self._ended.wait(self._every_s):
            missed = 0 if self._answers() else missed + 1
            if missed == self._misses and not self._ended.is_set():
                self.lost.set()
                return


def describes_itself(http: str, *, patience_s: float = _PATIENCE_S) -> bool:
    """Whether the model ``anonymize`` of the server at ``http`` says what it is.

    No slot is taken for it.
    """
    body = http_messages.body(to_tensors(WireRequest(task="describe", base64=True)))
    answer = fetch(http + http_messages.PATH, body, patience_s=patience_s, most_bytes=_MOST_BYTES)
    try:
        lines = http_messages.Lines(_MOST_BYTES).feed(answer or b"")
        return any(isinstance(http_messages.event_of(line), Described) for line in lines)
    except VeraError:
        return False
