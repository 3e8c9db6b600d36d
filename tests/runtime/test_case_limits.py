"""A case ends early while its photographs are read, keeps within the place's limits and memory."""

import io
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

from vera.case.case import open_case
from vera.case.local import LocalCases
from vera.case.pipeline import anonymize_case
from vera.case.request import CaseRequest
from vera.errors import CancelledError
from vera.report import JudgeReport
from vera.settings import Settings

WAIT = 30
FOUR = ((0.45, 10.0, 5.0), (0.42, 170.0, 5.0), (0.4, 10.0, 165.0), (0.38, 170.0, 165.0))


def silent(stage, fraction):
    """Progress that nobody waits for."""


def png(side):
    encoded = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


def test_place_s_limit_refuses_a_photograph_and_leaves_the_settings_as_they_were():
    request = CaseRequest([png(7), png(8)], "none", 1, largest=49)
    case = request.open()
    assert case.photos[0].image is not None
    assert "8 x 8 pixels, more than the limit of 49" in str(case.photos[1].refusal)
    assert case.settings == Settings()


def test_place_s_limit_takes_nothing_beyond_the_request_s_own():
    request = CaseRequest([png(7)], "none", 1, settings=Settings(pixel_limit=48), largest=100)
    assert "more than the limit of 48" in str(request.open().photos[0].refusal)


def test_photographs_are_read_until_the_case_is_cancelled():
    asked = []

    def check():
        asked.append(True)
        if len(asked) == 3:
            raise CancelledError("The case was cancelled.")

    photos = [np.zeros((9, 9, 3), np.uint8)] * 5
    with pytest.raises(CancelledError):
        open_case(photos, keep="none", seed=1, settings=Settings(), check=check)
    assert len(asked) == 3


@pytest.mark.parametrize("while_reading", [True, False])
def test_case_is_cancelled_where_no_engine_runs(fake_bundle, fake_engines, while_reading):
    submitted = threading.Event()
    jobs = []

    class Asked:
        """A request of photographs that cannot be read, cancelled meanwhile."""

        people = None

        def open(self, check):
            assert submitted.wait(WAIT)
            jobs[0].cancel()
            if while_reading:
                check()
                raise AssertionError("read on")
            return CaseRequest([b"no image"], "none", 1).open()

    cases = LocalCases(fake_bundle, engines=fake_engines)
    jobs.append(cases.submit(Asked(), silent, None))
    submitted.set()
    with pytest.raises(CancelledError):
        jobs[0].result(WAIT)
    cases.close()


class Watching:
    """A judge whom everybody passes, and who counts the photographs that are there at once."""

    def __init__(self):
        self._seen, self.most = [], 0

    def check(self, original, output, points_original, points_output=None):
        if not any(one() is output for one in self._seen):
            self._seen.append(weakref.ref(output))
        self.most = max(self.most, sum(one() is not None for one in self._seen))
        return JudgeReport("watching", "0" * 64, 0.0, 0.5)


def test_bystanders_do_not_keep_a_photograph_each(fakes, fake_bundle):
    photo = fakes.draw_photo(2, FOUR)
    case = open_case([photo], keep="none", seed=3, settings=Settings(steps=1))
    judge = Watching()
    (done,) = anonymize_case(case, fakes.Engines(FOUR), fake_bundle, silent, judges=[judge])
    assert done.report.verdict == "anonymized", done.report.message
    assert len(done.report.faces) == 4
    assert judge.most == 2  # with the face before, and with this one
