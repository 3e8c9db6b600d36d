"""The served model with a stand-in for Triton and for the cases: every request gets one end."""

import threading

import fake_backend
import numpy as np
from fake_service import answered, ask, one

from vera.case.request import Result
from vera.errors import EngineError, UsageError
from vera.report import BundleReport, FaceReport, InversionReport, PhotoReport
from vera.serving.responder import Responder
from vera.wire.request import WireRequest

_REPORT = PhotoReport("anonymized", "single", 7, BundleReport("fake", "0", {}))


def counts(service):
    family = service.utils.made["vera_cases_total"]
    return {m.labels["verdict"]: m.value for m in family.metrics if m.value}


def test_results_follow_progress_and_done_ends_the_stream(serve):
    def work(request, progress):
        assert request.photos == [b"photo"]
        for i in range(5):
            progress("invert", i / 5)
        return [Result(np.zeros((2, 3, 3), np.uint8), _REPORT, np.ones(4, np.float32))] * 2

    sender = ask(serve(work, every=2), one(persons=True, images="raw"))
    events = answered(sender)
    assert [event["event"] for event in events] == ["progress"] * 3 + ["result"] * 2 + ["done"]
    assert [event["fraction"] for event in events[:3]] == [0.0, 0.4, 0.8]
    result = sender.sent[3].outputs
    assert result["IMAGE"][0] == bytes(18)
    assert result["PERSON"].tolist() == [1, 1, 1, 1]


def test_nothing_of_a_case_goes_out_when_one_image_cannot_be_encoded(serve):
    images = [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 7), np.uint8)]
    service = serve(lambda request, progress: [Result(i, _REPORT) for i in images])
    sender = ask(service, one())
    assert answered(sender) == []
    assert sender.error.startswith("EngineError: The server met an unexpected")
    assert counts(service) == {"failed": 1}


def test_error_of_a_case_is_told_by_class_and_sentence(serve):
    def work(request, progress):
        raise EngineError("The engine broke; run vera check.")

    sender = ask(serve(work), one())
    assert answered(sender) == []
    assert sender.error == "EngineError: The engine broke; run vera check."


def test_text_of_a_foreign_exception_is_neither_sent_nor_logged(serve, capsys):
    def work(request, progress):
        raise ValueError("jane doe")

    sender = ask(serve(work), one())
    answered(sender)
    assert "ValueError" in sender.error
    written = capsys.readouterr().err
    assert "jane" not in sender.error + written
    assert "test_service.py" in written


def test_client_that_leaves_cancels_its_case(serve):
    started, release = threading.Event(), threading.Event()

    def work(request, progress):
        started.set()
        assert release.wait(10)
        progress("invert", 0.5)
        progress("invert", 0.6)
        raise AssertionError("went on")

    service = serve(work)
    sender = ask(service, one())
    assert started.wait(10)
    sender.gone = True
    release.set()
    answered(sender)
    assert sender.error.startswith("CancelledError: ")
    assert counts(service) == {"cancelled": 1}


def test_client_that_leaves_the_queue_is_noticed(serve):
    release = threading.Event()
    service = serve(lambda request, progress: release.wait(10) and [])
    first, second = ask(service, one()), ask(service, one())
    second.gone = True
    assert second.finished.wait(10)
    assert second.error.startswith("CancelledError: ")
    release.set()
    assert answered(first)[-1]["event"] == "done"


def test_full_queue_is_busy_at_once(serve):
    release = threading.Event()
    service = serve(lambda request, progress: release.wait(10) and [])
    waiting = [ask(service, one()) for _ in range(2)]
    third = ask(service, one())
    assert third.finished.is_set()
    assert third.error.startswith("BusyError: ")
    assert third.sent[0].error.code == fake_backend.TritonError.UNAVAILABLE
    release.set()
    assert all(answered(sender)[-1]["event"] == "done" for sender in waiting)


def test_deadline_is_the_shorter_of_request_and_server(serve):
    seconds = []

    def never(request, progress):
        return []

    service = serve(never, seconds=50.0)
    submit = service.cases.submit
    service.cases.submit = lambda *given: seconds.append(given[2]) or submit(*given)
    for asked in (None, 20.0, 90.0):
        answered(ask(service, one(deadline_s=asked)))
    assert seconds == [50.0, 20.0, 50.0]


def test_closing_waits_for_cases_and_refuses_new_ones(serve):
    release = threading.Event()
    service = serve(lambda request, progress: release.wait(10) and [])
    sender = ask(service, one())
    closing = threading.Thread(target=service.close)
    closing.start()
    assert not sender.finished.is_set()
    release.set()
    closing.join(10)
    assert not closing.is_alive()
    assert answered(sender)[-1]["event"] == "done"
    after = ask(service, one())
    assert after.error.startswith("BusyError: The server is shutting down")


def test_describe_names_limits(serve):
    (described, done) = answered(ask(serve(None, photos=3), WireRequest(task="describe")))
    assert described["server"]["limits"]["photos"] == 3
    assert done["event"] == "done"


def test_failing_check_is_told(serve):
    def check():
        raise EngineError("The engine broke; run vera check.")

    sender = ask(serve(None, check=check), WireRequest(task="check"))
    assert answered(sender) == []
    assert sender.error.startswith("EngineError: The engine broke")


def test_people_in_one_row_are_people_of_the_bundle_s_width(serve):
    asked = []
    service = serve(lambda request, progress: asked.append(request.people) or [])
    answered(ask(service, one(people=np.zeros((1, 8), np.float32))))
    assert asked[0].shape == (2, 4)
    sender = ask(service, one(people=np.zeros((1, 7), np.float32)))
    assert sender.error.startswith("UsageError: PEOPLE must be [m, 4]")


def test_inputs_that_cannot_be_copied_end_in_an_error(serve):
    service = serve(None)
    asked = fake_backend.Request({})

    def broken():
        raise UsageError("OPTIONS is broken; send it again.")

    service.accept(broken, Responder(service.utils, asked))
    assert asked.sender.error == "UsageError: OPTIONS is broken; send it again."


def test_metrics_count_what_a_case_did(serve):
    report = PhotoReport(
        *("anonymized", "paired", 7, BundleReport("fake", "0", {})),
        faces=(FaceReport((9, 9), 30.0, 0.25, 0.5, 1, True),),
        inversion=InversionReport(3, 2.0, 1.0),
        milliseconds={"find": 100.0, "invert": 1000.0},
    )
    refused = PhotoReport("refused", "paired", 7, BundleReport("fake", "0", {}), "no-face", photo=2)
    service = serve(
        lambda request, progress: [
            Result(np.zeros((2, 2, 3), np.uint8), report),
            Result(None, refused),
        ]
    )
    answered(ask(service, one()))
    service.close()
    made = service.utils.made
    assert counts(service) == {"refused": 1}
    photos = {m.labels["verdict"]: m.value for m in made["vera_photos_total"].metrics}
    assert photos == {"anonymized": 1, "refused": 1}
    stages = {m.labels["stage"]: m.seen for m in made["vera_stage_seconds"].metrics}
    assert (stages["find"], stages["invert"], stages["draw"]) == ([0.1], [1.0], [])
    assert made["vera_gate_cosine"].metrics[0].seen == [0.25]
    assert made["vera_queue_length"].metrics[0].value == 0


def test_queue_is_full_when_its_bytes_are(serve):
    release = threading.Event()
    service = serve(lambda request, progress: release.wait(10) and [], queue=9, queue_bytes=10)
    taken = [ask(service, one()) for _ in range(2)]
    refused = ask(service, one())
    assert refused.error.startswith("BusyError: The photographs that wait and work leave")
    release.set()
    assert all(answered(sender)[-1]["event"] == "done" for sender in taken)


def test_case_that_is_alone_is_taken_whatever_the_queue_may_hold(serve):
    service = serve(lambda request, progress: [], queue_bytes=1)
    assert answered(ask(service, one()))[-1]["event"] == "done"


def test_decoders_get_the_server_s_limit_of_pixels(serve):
    largest = []
    service = serve(lambda request, progress: largest.append(request.largest) or [], pixels=123)
    answered(ask(service, one()))
    assert largest == [123]


def test_server_that_closes_while_a_request_is_checked_does_not_take_it(serve):
    service = serve(lambda request, progress: [])
    bundle = service.cases.bundle

    class Bundle:
        """Closes the server when it is compared with the one that was asked for."""

        layout, engines = bundle.layout, bundle.engines

        @property
        def digest(self):
            service.close()
            return bundle.digest

    service.cases.bundle = Bundle()
    sender = ask(service, one(bundle=bundle.digest))
    assert sender.error.startswith("BusyError: The server is shutting down")


def test_photographs_are_counted_before_they_are_copied(serve):
    class Uncopied:
        def __bytes__(self):
            raise AssertionError("copied")

    service = serve(None, photos=2)
    sender = ask(service, tensors={"PHOTOS": [Uncopied() for _ in range(3)]})
    assert sender.error.startswith("UsageError: PHOTOS holds 3")
