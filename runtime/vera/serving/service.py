"""The served model without Triton: requests in, conversations begun, watched and ended."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import numpy as np
import numpy.typing as npt

from vera.case.local import LocalCases
from vera.check import Row
from vera.errors import BusyError, UsageError
from vera.serving.conversation import Conversation
from vera.serving.limits import check_request, check_sizes
from vera.serving.log import new_number
from vera.serving.metrics import Metrics
from vera.serving.parameters import Parameters
from vera.serving.record import Record
from vera.serving.responder import Responder
from vera.versions import __version__
from vera.wire import event as events
from vera.wire.event import Checked, Described, Done
from vera.wire.request import WireRequest, from_tensors
from vera.wire.server import ServedBundle, ServerContract
from vera.wire.tensors import Tensors

# How often clients are looked at whose cases wait or are in a long stage.
_WATCH_S = 0.1

# Encoding and sending are done beside the slots; two at once keep up with any number of them.
_SENDERS = 2

# Checks that may wait for each other.
_CHECKS = 4


class Service:
    """Everything a server does with a request. Its methods may be called from any thread."""

    def __init__(
        self,
        cases: LocalCases,
        parameters: Parameters,
        metrics: Metrics,
        check: Callable[[], tuple[Row, ...]],
    ) -> None:
        """Is ready at once.

        Args:
            cases: Does them; closed with the service.
            parameters: Limits and how much progress is told.
            metrics: Counts.
            check: The deep check.
        """
        self.cases, self._parameters = cases, parameters
        self._metrics, self._record, self._check = metrics, Record(metrics), check
        self._open: set[Conversation] = set()
        self._checking = 0
        self._changed = threading.Condition()
        self._closing = False
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="vera-send")
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="vera-check")
        self._watcher = threading.Thread(target=self._watch, name="vera-watch", daemon=True)
        self._watcher.start()

    def accept(self, tensors: Callable[[], Tensors], responder: Responder) -> None:
        """Takes a request and returns at once; whatever happens, the responder gets one end.

        Args:
            tensors: Copies the request's inputs.
            responder: The way back.
        """
        number = new_number()
        try:
            given = tensors()
            check_sizes(given, self._parameters.limits)
            request = from_tensors(given)
            self._require_open()
            if request.task == "describe":
                responder.send(events.to_tensors(Described(self._contract())))
                responder.send(events.to_tensors(Done()))
                responder.end()
            elif request.task == "check":
                self._begin_check(responder)
            else:
                self._begin(request, responder, number)
        except Exception as error:
            self._failed(responder, number, error)

    def close(self) -> None:
        """Refuses new requests, waits for those in work, and closes what does them."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._open)
        self._checker.shutdown()
        self._senders.shutdown()
        self._watcher.join()
        self.cases.close()

    def _begin(self, request: WireRequest, responder: Responder, number: str) -> None:
        limits = self._parameters.limits
        check_request(request, limits, self.cases.bundle)
        people = _reshaped(request.people, self.cases.bundle.layout.embedding)
        request = replace(request, people=people)
        every = self._parameters.progress_every
        conversation = Conversation(request, responder, every=every, number=number)
        with self._changed:
            self._require_open()  # again: closing waits for those that are in by now
            self._require_room(conversation.size)
            self._open.add(conversation)
            self._changed.notify_all()
        try:
            conversation.begin(self.cases, limits, self._ended)
        except BaseException:
            self._forget(conversation)
            raise

    def _require_open(self) -> None:
        if self._closing:
            raise BusyError("The server is shutting down; try again later, or elsewhere.")

    def _require_room(self, size: int) -> None:
        held = sum(conversation.size for conversation in self._open)
        most = self._parameters.limits.queue_bytes
        if self._open and held + size > most:
            raise BusyError(
                f"The photographs that wait and work leave too few of their {most} bytes; try "
                "again later."
            )

    def _ended(self, conversation: Conversation) -> None:
        """In a thread of a slot, which must go on with the next case."""
        self._senders.submit(self._finish, conversation)

    def _finish(self, conversation: Conversation) -> None:
        number, responder = conversation.number, conversation.responder
        try:
            results = conversation.job.result(timeout=0)
            begun = monotonic()
            answers = conversation.answers(results)
            encoded = monotonic() - begun
            times = conversation.job.times
            conversation.tell(answers)
            reports = [result.report for result in results]
            self._record.done(number, reports, encode_s=encoded, times=times)
            conversation.tell([Done(times.queue_s, times.work_s, times.steps)])
            responder.end()
        except Exception as error:
            self._failed(responder, number, error)
        finally:
            self._forget(conversation)

    def _failed(
        self, responder: Responder, number: str, error: Exception, *, case: bool = True
    ) -> None:
        with suppress(Exception):  # no fault of a record's may keep a client waiting
            self._record.failed(number, error, case=case)
        responder.end(error)

    def _forget(self, conversation: Conversation) -> None:
        conversation.release()
        with self._changed:
            self._open.discard(conversation)
            self._changed.notify_all()
        self._gauge()

    def _begin_check(self, responder: Responder) -> None:
        with self._changed:
            self._require_open()
            if self._checking >= _CHECKS:
                raise BusyError(f"{_CHECKS} checks wait already; ask again when they are done.")
            self._checking += 1
            self._checker.submit(self._answer_check, responder)

    def _answer_check(self, responder: Responder) -> None:
        try:
            responder.send(events.to_tensors(Checked(self._check())))
            responder.send(events.to_tensors(Done()))
            responder.end()
        except Exception as error:
            self._failed(responder, new_number(), error, case=False)
        finally:
            with self._changed:
                self._checking -= 1

    def _watch(self) -> None:
        """Notices clients that are gone, also while their cases wait."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open or self._closing)
                if not self._open:
                    return
            try:
                self._look()
            except Exception as error:  # nobody else would notice clients that are gone
                self._record.failed(new_number(), error, case=False)
            with self._changed:
                self._changed.wait(_WATCH_S)

    def _look(self) -> None:
        """In a frame of its own: no case may stay in one that waits."""
        with self._changed:
            conversations = tuple(self._open)
        for conversation in conversations:
            conversation.watch()
        self._gauge()

    def _gauge(self) -> None:
        # Cases whose images are being encoded or sent count as in work: a drain waits for them.
        queued = self.cases.scheduler.stats().queued
        self._metrics.set("vera_active_slots", max(0, len(self._open) - queued))
        self._metrics.set("vera_queue_length", queued)

    def _contract(self) -> ServerContract:
        bundle, parameters = self.cases.bundle, self._parameters
        served = ServedBundle(bundle.name, bundle.version, bundle.digest, dict(bundle.hashes))
        return ServerContract(
            served, parameters.limits, parameters.slots, parameters.queue, vera=__version__
        )


def _reshaped(people: npt.NDArray[np.float32] | None, width: int) -> npt.NDArray[np.float32] | None:
    """People [m, e], also of HTTP clients: their JSON arrives as one row."""
    if people is None or people.size == 0:
        return None
    if people.shape[1] == width:
        return people
    if people.shape[0] == 1 and people.size % width == 0:
        return people.reshape(-1, width)
    raise UsageError(
        f"PEOPLE must be [m, {width}] for this server's bundle, got {list(people.shape)}; send "
        "embeddings of the same bundle."
    )
