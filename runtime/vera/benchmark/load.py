"""The load generator: queries asked by clients in a closed loop, or at given times in an open one.

Clients are threads, which wait: for engines of this process, which release the interpreter, or for
a server. A latency begins when its query was due, not when it could be sent, so that a target that
falls behind cannot hide it (coordinated omission).
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from vera.benchmark.target import Answer
from vera.errors import BusyError, CancelledError, DeadlineError, VeraError

Outcome = Literal["done", "rejected", "deadline", "failed"]
Ask = Callable[[int], Answer]

MOST_IN_FLIGHT = 512  # threads of an open loop


@dataclass(frozen=True, slots=True)
class Sample:
    """One query.

    Attributes:
        due_s: When it was due, since the load began.
        ended_s: When its answer or its error came.
        outcome: ``"rejected"`` by a full queue, given up by its ``"deadline"``, or else failed.
        answer: What came, of a query that is done.
    """

    due_s: float
    ended_s: float
    outcome: Outcome = "done"
    answer: Answer | None = None

    @property
    def latency_s(self) -> float:
        """From when it was due to its answer."""
        return self.ended_s - self.due_s


@dataclass(frozen=True, slots=True)
class Load:
    """What a load left behind.

    Attributes:
        samples: In the order of their ends.
        seconds: From the first query due to the last answer.
        failure: The first error that was no rejection, deadline or cancellation.
        most_in_flight: How many queries were on their way at once, at most.
        steady: Of a closed loop, how many queries were done in ``steady_s``.
        steady_s: From the first answer until a client first had nothing more to ask: the time in
            which all clients were busy, less the ramp. 0 if some client was never busy.
    """

    samples: tuple[Sample, ...]
    seconds: float
    failure: VeraError | None = None
    most_in_flight: int = 0
    steady: int = 0
    steady_s: float = 0.0


def joined(parts: Sequence[Load]) -> Load:
    """Several loads of one target as one, without the time between them."""
    samples: list[Sample] = []
    seconds = 0.0
    for part in parts:
        samples += [
            replace(one, due_s=one.due_s + seconds, ended_s=one.ended_s + seconds)
            for one in part.samples
        ]
        seconds += part.seconds
    return Load(
        samples=tuple(samples),
        seconds=seconds,
        failure=next((part.failure for part in parts if part.failure), None),
        most_in_flight=max((part.most_in_flight for part in parts), default=0),
        steady=sum(part.steady for part in parts),
        steady_s=sum(part.steady_s for part in parts),
    )


def closed_loop(
    ask: Ask, first: int, count: int, *, clients: int, seconds: float | None, backoff_s: float
) -> Load:
    """So many clients, each of which asks again as soon as it is answered.

    Args:
        ask: Does the query of a number; blocks.
        first: Number of the first query.
        count: How many are asked.
        clients: How many are asked at a time.
        seconds: No further query is begun after this; None does all of ``count``.
        backoff_s: How long a client waits that was not answered.
    """
    clock = _Clock(seconds)
    numbers = iter(range(first, first + count))
    last = [0.0] * clients  # when each client got its last answer

    def client(place: int) -> None:
        while not clock.over:
            with clock.lock:
                number = next(numbers, None)
            if number is None:
                return
            sample = clock.time(ask, number, clock.now())
            last[place] = sample.ended_s
            if sample.outcome != "done":
                clock.stopped.wait(backoff_s)

    threads = [
        threading.Thread(target=clock.guarded, args=(partial(client, place),))
        for place in range(clients)
    ]
    load = clock.run(threads)
    steady, steady_s = steady_part(load.samples, min(last))
    return replace(load, steady=steady, steady_s=steady_s)


def steady_part(samples: Sequence[Sample], until: float) -> tuple[int, float]:
    """How many queries were done between the first answer and ``until``, and in which time.

    The first answer starts the clock and is not counted: a target that is empty at first needs the
    time until then to fill up, and what ends after ``until`` had less and less company.
    """
    ends = sorted(one.ended_s for one in samples if one.outcome == "done" and one.ended_s <= until)
    if not ends or ends[0] == ends[-1]:
        return 0, 0.0
    return len(ends) - 1, ends[-1] - ends[0]


def open_loop(ask: Ask, first: int, due: Sequence[float]) -> Load:
    """Queries at the times ``due`` in seconds, whether earlier ones are answered or not."""
    clock = _Clock(None)
    pool = ThreadPoolExecutor(min(len(due), MOST_IN_FLIGHT))

    def send() -> None:
        with pool:
            for number, at in enumerate(due, first):
                if clock.stopped.wait(max(0.0, at - clock.now())):
                    return
                pool.submit(clock.guarded, partial(clock.time, ask, number, at))

    return clock.run([threading.Thread(target=send)])


class _Clock:
    """The samples of one load, and the time since it began."""

    def __init__(self, seconds: float | None) -> None:
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self._end = float("inf") if seconds is None else seconds
        self._begin = time.perf_counter()
        self._samples: list[Sample] = []
        self._in_flight = self._most_in_flight = 0
        self._failure: VeraError | None = None
        self._broken: BaseException | None = None

    def now(self) -> float:
        return time.perf_counter() - self._begin

    @property
    def over(self) -> bool:
        return self.stopped.is_set() or self.now() >= self._end

    def time(self, ask: Ask, number: int, due: float) -> Sample:
        """One query, from when it was due."""
        answer: Answer | None = None
        outcome: Outcome = "done"
        failure: VeraError | None = None
        with self.lock:
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            answer = ask(number)
        except BusyError:
            outcome = "rejected"
        except (DeadlineError, CancelledError):
            outcome = "deadline"
        except VeraError as error:
            outcome, failure = "failed", error
        sample = Sample(due, self.now(), outcome, answer)
        with self.lock:
            self._in_flight -= 1
            self._samples.append(sample)
            self._failure = self._failure or failure
        return sample

    def guarded(self, work: Callable[[], object]) -> None:
        """What is no error of VerA's ends the load and is raised by :meth:`run`."""
        try:
            work()
        except BaseException as error:
            self._broken = self._broken or error
            self.stopped.set()

    def run(self, threads: Sequence[threading.Thread]) -> Load:
        """Starts the threads and waits for them; Ctrl-C lets only the queries on their way end."""
        self._begin = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self.stopped.set()
            raise
        if self._broken is not None:
            raise self._broken
        samples = tuple(self._samples)
        begin = min((one.due_s for one in samples), default=0.0)
        end = max((one.ended_s for one in samples), default=0.0)
        return Load(samples, end - begin, self._failure, self._most_in_flight)
