"""A server that idles holds no photograph of a case that is over, in whatever way it ended."""

import sys
import threading
import weakref

import numpy as np
import pytest
from fake_service import answered, ask
from forgotten import eventually, without_collector

from vera.case.request import Result
from vera.errors import EngineError
from vera.report import BundleReport, PhotoReport
from vera.wire.request import WirePhoto, WireRequest

_REPORT = PhotoReport("anonymized", "single", 7, BundleReport("fake", "0", {}))
_SHAPE = (40, 50, 3)


@pytest.fixture(autouse=True)
def _no_collector():
    with without_collector():
        yield


class Seen:
    """Does cases, and watches their photographs without holding them."""

    def __init__(self, end):
        self.photos, self._end = [], end
        self.begun, self.release = threading.Event(), threading.Event()

    def __call__(self, request, progress):
        (photo,) = request.photos
        self.photos.append(weakref.ref(photo))
        del photo
        self.begun.set()
        assert self.release.wait(10)
        return self._end(request, progress)

    def gone(self):
        return all(photo() is None for photo in self.photos)


def _result(request, progress):
    progress("invert", 0.5)
    output = 255 - request.photos[0]
    return [Result(output, _REPORT)]


def _error(request, progress):
    raise EngineError("The engine broke; run vera check.")


def _foreign_error(request, progress):
    photo = request.photos[0]
    raise ValueError(photo.shape)


def _late(request, progress):
    while True:
        progress("invert", 0.5)


def _no_image(request, progress):
    return [Result(np.zeros((2, 2, 7), np.uint8), _REPORT)]


def raw(data, **changes):
    return WireRequest(photos=(WirePhoto(data, shape=_SHAPE),), seed=1, **changes)


@pytest.mark.parametrize("end", [_result, _error, _foreign_error, _late, _no_image])
def test_photograph_is_gone_after_its_case(serve, end):
    seen = Seen(end)
    service = serve(seen)
    data = np.random.default_rng(1).bytes(40 * 50 * 3)
    held = sys.getrefcount(data)
    sender = ask(service, raw(data, deadline_s=0.05 if end is _late else None))
    looked = threading.Event()
    sender.is_cancelled = looked.set  # as good as False
    assert seen.begun.wait(10)
    assert looked.wait(10)  # the watcher has had the case in hand, too
    seen.release.set()
    answered(sender)
    assert eventually(seen.gone)
    assert eventually(lambda: sys.getrefcount(data) == held)
    assert service.cases.scheduler.stats().active == 0


def test_photograph_of_a_client_that_left_the_queue_is_gone(serve):
    seen = Seen(_result)
    service = serve(seen)
    first = ask(service, raw(bytes(40 * 50 * 3)))
    assert seen.begun.wait(10)
    data = np.random.default_rng(2).bytes(40 * 50 * 3)
    held = sys.getrefcount(data)
    second = ask(service, raw(data))
    second.gone = True
    answered(second)
    assert eventually(lambda: sys.getrefcount(data) == held)
    seen.release.set()
    answered(first)


@pytest.mark.parametrize("said", ["BusyError", "UsageError"])
def test_photograph_that_was_not_taken_is_gone(serve, said):
    seen = Seen(_result)
    service = serve(seen, queue=0, pixels=40 * 50)
    first = ask(service, raw(bytes(40 * 50 * 3)))
    assert seen.begun.wait(10)
    data = np.random.default_rng(3).bytes(40 * 50 * 3)
    held = sys.getrefcount(data)
    refused = ask(service, raw(data, bundle="e" * 64 if said == "UsageError" else None))
    assert refused.error.startswith(said)
    assert eventually(lambda: sys.getrefcount(data) == held)
    seen.release.set()
    answered(first)
