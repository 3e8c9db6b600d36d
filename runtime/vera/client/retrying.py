"""When a case is sent again: seldom, later and later, and never by all at once."""

import threading
import time
from typing import TYPE_CHECKING, Any

from vera.client.cancelling import Cancellation
from vera.client.connection import Connection
from vera.client.failures import repeatable
from vera.scheduling.job import late

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState, Retrying

_LONGEST_WAIT_S = 30.0

# What a case that went well at once gives back, in retries: in the long run one case in five may
# be repeated.
_EARNED = 0.2


class RetryBudget:
    """How many retries a client has in hand; shared by its threads."""

    def __init__(self, retries: int) -> None:
        """Full."""
        self._most = self._left = float(retries)
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one retry, if one is left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def succeeded(self, retries: int) -> None:
        """A case went well after so many retries, which are given back."""
        with self._lock:
            self._left = min(self._most, self._left + max(retries, _EARNED))


class Patience:
    """The time and the tries of one case."""

    def __init__(
        self,
        connection: Connection,
        budget: RetryBudget,
        deadline_s: float | None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Begins now; without ``deadline_s`` the connection's counts."""
        self._connection, self._budget = connection, budget
        seconds = connection.deadline_s if deadline_s is None else deadline_s
        self._end = None if seconds is None else time.monotonic() + seconds
        self._cancel = cancel or Cancellation()

    def left(self) -> float | None:
        """Seconds that are left, or None if there is no end.

        Raises:
            CancelledError: The case was cancelled.
            DeadlineError: Nothing is left.
        """
        self._cancel.check()
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise late()
        return left

    def attempts(self) -> "Retrying":
        """Tries, each of which calls :meth:`left` first."""
        from tenacity import Retrying, sleep_using_event

        return Retrying(sleep=sleep_using_event(self._cancel.event), **self._policy())

    def async_attempts(self) -> "AsyncRetrying":
        """The same for coroutines."""
        from tenacity import AsyncRetrying

        return AsyncRetrying(**self._policy())

    def succeeded(self, attempt: int) -> None:
        """The attempt of this number, from 1, went well."""
        self._budget.succeeded(attempt - 1)

    def _policy(self) -> dict[str, Any]:
        from tenacity import retry_if_exception, wait_random_exponential

        return {
            "retry": retry_if_exception(repeatable),
            "stop": self._is_over,
            "wait": wait_random_exponential(self._connection.backoff_s, _LONGEST_WAIT_S),
            "reraise": True,
        }

    def _is_over(self, state: "RetryCallState") -> bool:
        """Whether a failed attempt was the last one."""
        if state.attempt_number > self._connection.retries:
            return True
        if self._end is not None and time.monotonic() + state.upcoming_sleep >= self._end:
            return True
        return not self._budget.take()
