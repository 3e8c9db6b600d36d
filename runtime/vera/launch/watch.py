"""Whether the model that does the cases still answers, while its server says that all is well.

Triton 2.51 goes on being ready when only the process of a decoupled model has ended, by lack of
memory or by a crash, and does not start it again.
"""

import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPException

from vera.client import http_messages
from vera.errors import VeraError
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

    No slot is taken for it. No proxy is asked: the server is on this machine.
    """
    body = http_messages.body(to_tensors(WireRequest(task="describe", base64=True)))
    asked = urllib.request.Request(http + http_messages.PATH, body)
    asked.add_header("Content-Type", "application/json")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=patience_s) as answer:
            lines = http_messages.Lines(_MOST_BYTES)
            events = map(http_messages.event_of, lines.feed(answer.read(_MOST_BYTES)))
            return any(isinstance(event, Described) for event in events)
    except (OSError, HTTPException, VeraError):
        return False
