"""A served model without Triton and without engines: cases are done by a function."""

import json
from types import SimpleNamespace

import fake_backend

from vera.scheduling.scheduler import Scheduler
from vera.serving.metrics import Metrics
from vera.serving.parameters import Parameters
from vera.serving.responder import Responder, received
from vera.serving.service import Service
from vera.wire import request as requests
from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import Limits


class Cases:
    """Does cases with ``work(request, progress)`` on a real scheduler."""

    def __init__(self, work, slots: int = 1, queue: int = 1) -> None:
        self.scheduler, self._work = Scheduler(slots, queue), work
        self.bundle = SimpleNamespace(
            name="fake",
            version="0",
            digest="d" * 64,
            hashes={},
            engines=("encoder",),
            layout=SimpleNamespace(embedding=4),
        )

    def submit(self, request, progress, deadline):
        def work(control):
            def told(stage, fraction):
                control.check()
                progress(stage, fraction)

            return self._work(request, told)

        return self.scheduler.submit(work, deadline=deadline)

    def close(self) -> None:
        self.scheduler.close()


def service_over(work, *, every=1, slots=1, queue=1, check=lambda: (), **limits):
    """A service over ``work``; its ``utils`` remember what it sends."""
    utils = fake_backend.backend()
    parameters = Parameters(slots=slots, queue=queue, progress_every=every, limits=Limits(**limits))
    service = Service(Cases(work, slots, queue), parameters, Metrics(utils.MetricFamily), check)
    service.utils, service.limits = utils, parameters.limits
    return service


def ask(service, request=None, tensors=None):
    """Sends a request; its sender."""
    asked = fake_backend.Request(requests.to_tensors(request) if tensors is None else tensors)
    service.accept(lambda: received(asked, service.limits), Responder(service.utils, asked))
    return asked.sender


def answered(sender):
    """The events of a stream that has ended."""
    assert sender.finished.wait(10)
    return [json.loads(r.outputs["EVENT"][0]) for r in sender.sent if r.error is None]


def one(**changes):
    return WireRequest(photos=(WirePhoto(b"photo"),), seed=1, **changes)
