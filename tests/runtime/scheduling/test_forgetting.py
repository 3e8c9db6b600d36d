"""Nothing that a scheduler keeps, and no error, holds the photographs of a case that is over."""

import threading
import weakref

import numpy as np
import pytest
from forgotten import eventually, without_collector

from vera.case.local import LocalCases
from vera.case.request import CaseRequest
from vera.errors import CancelledError, DeadlineError, EngineError
from vera.face.faces import find_faces
from vera.identity.inversion import InversionConfig
from vera.identity.target import make_target
from vera.scheduling.batches import Batches
from vera.scheduling.job import forget_frames
from vera.scheduling.lanes import Lanes
from vera.scheduling.scheduler import Scheduler
from vera.settings import Settings

WAIT = 30


class Photograph:
    """Something that can be watched."""


@pytest.fixture(autouse=True)
def _no_collector():
    with without_collector():
        yield


@pytest.fixture
def scheduler():
    with Scheduler(slots=1, queue=3) as made:
        yield made


@pytest.fixture
def busy(scheduler):
    """The only slot is taken until this is set."""
    begun, release = threading.Event(), threading.Event()
    scheduler.submit(lambda _: begun.set() or release.wait(WAIT))
    assert begun.wait(WAIT)
    yield release
    release.set()


def test_job_that_is_done_holds_no_photograph(scheduler):
    photo = Photograph()
    seen = weakref.ref(photo)
    job = scheduler.submit(lambda _, photo=photo: "done")
    del photo
    assert job.result(WAIT) == "done"
    assert eventually(lambda: seen() is None)
    assert job.result() == "done"


def test_result_goes_with_its_job_although_somebody_was_called_back(scheduler):
    called = []
    job = scheduler.submit(lambda _: Photograph())
    job.add_done_callback(lambda job: called.append(True))
    seen = weakref.ref(job.result(WAIT))
    assert eventually(lambda: called == [True])
    del job
    assert eventually(lambda: seen() is None)


def test_error_holds_no_photograph_of_the_functions_that_it_came_through(scheduler):
    seen = []

    def read(photo):
        raise ValueError("odd")

    def work(_):
        photo = Photograph()
        seen.append(weakref.ref(photo))
        try:
            read(photo)
        except ValueError as error:
            raise EngineError("The engine broke; run vera check.") from error

    job = scheduler.submit(work)
    with pytest.raises(EngineError) as caught:
        job.result(WAIT)
    assert eventually(lambda: seen[0]() is None)
    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "work"


def test_failed_job_is_gone_when_nobody_holds_it(scheduler):
    def work(_):
        raise EngineError("The engine broke; run vera check.")

    job = scheduler.submit(work)
    seen = weakref.ref(job)
    with pytest.raises(EngineError):
        job.result(WAIT)
    del job
    assert eventually(lambda: seen() is None)


def test_case_that_left_the_queue_holds_no_photograph(scheduler, busy):
    photos = [Photograph(), Photograph()]
    seen = [weakref.ref(photo) for photo in photos]
    cancelled = scheduler.submit(lambda _, photo=photos[0]: None)
    late = scheduler.submit(lambda _, photo=photos[1]: None, deadline=0.01)
    del photos
    cancelled.cancel()
    with pytest.raises(CancelledError):
        cancelled.result(WAIT)
    with pytest.raises(DeadlineError):
        late.result(WAIT)
    assert eventually(lambda: all(one() is None for one in seen))


def test_error_that_was_raised_twice_is_emptied_once():
    error = ValueError("odd")
    error.__context__ = other = ValueError("odder")
    other.__context__ = error
    forget_frames(error)


def _unlike(engines):
    """Nothing: the people that are drawn pass."""


def _faceless(engines):
    engines.faces = ()


def _alike(engines):
    same = np.zeros((1, 128), np.float32)
    same[0, 0] = 1
    engines.overrides["embedder"] = lambda face: {"embedding": same}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [(_unlike, None), (_faceless, "no-face"), (_alike, "identity-too-close")],
)
def test_case_leaves_nothing_of_its_photographs(fakes, fake_bundle, fake_engines, changed, reason):
    """Neither where engines are called nor in cycles of the pipeline, refusals included."""
    changed(fake_engines)
    cases = LocalCases(fake_bundle, engines=fake_engines)
    photos = [fakes.draw_photo(n) for n in range(2)]
    seen = [weakref.ref(photo) for photo in photos]
    asked = CaseRequest(photos, "none", 3, settings=Settings(steps=1))
    job = cases.submit(asked, lambda stage, done: None, None)
    del photos, asked
    assert {one.report.reason for one in job.result(WAIT)} == {reason}
    assert eventually(lambda: all(one() is None for one in seen))
    cases.close()


class Broken:
    """A gradient of any number of faces, which fails when one of them is marked by sevens."""

    def __init__(self, engines):
        self._engines, self.sizes = engines, []

    def forward(self, latent):
        self.sizes.append(len(latent))
        if (latent == 7).any():
            raise EngineError("The engine broke; run vera check.")
        each = [self._engines.render(one[None]) for one in latent]
        self.outputs = {name: np.concatenate([one[name] for one in each]) for name in each[0]}

    def backward(self, grads):
        return np.ones((self.sizes[-1], 32, 64), np.float32)


@pytest.fixture
def gradients(fake_engines):
    """The gradients that the engines of the test made."""
    made = []

    def gradient(**_):
        made.append(Broken(fake_engines))
        return made[-1]

    fake_engines.gradient = gradient
    return made


@pytest.fixture
def targets(fakes, fake_engines, fake_bundle):
    faces = [find_faces(fakes.draw_photo(n), fake_engines)[0][0] for n in range(2)]
    weights = InversionConfig().weights
    return [
        make_target(face, (320, 320), fake_engines, fake_bundle.feature_weights, weights)
        for face in faces
    ]


@pytest.mark.parametrize("kind", [Batches, lambda engines: Lanes(engines, 2, lambda: True)])
def test_failed_step_holds_no_latents(gradients, targets, fake_engines, kind):
    evaluator = kind(fake_engines)
    latents = np.full((2, 32, 64), 7, np.float32)
    seen = weakref.ref(latents)
    with pytest.raises(EngineError):
        evaluator.evaluate(targets, latents, with_gradient=True)
    del latents
    assert gradients
    assert eventually(lambda: seen() is None)
    evaluator.close()


def test_step_that_is_done_holds_no_latents(gradients, targets, fake_engines):
    batches = Batches(fake_engines)
    latents = np.zeros((2, 32, 64), np.float32)
    seen = weakref.ref(latents)
    losses, grads = batches.evaluate(targets, latents, with_gradient=True)
    assert losses.shape == (2,)
    assert (grads == 1).all()
    del latents
    assert eventually(lambda: seen() is None)
    batches.close()


def test_faces_of_a_batch_that_failed_are_done_one_by_one(gradients, targets, fake_engines):
    batches = Batches(fake_engines)
    latents = np.zeros((2, 32, 64), np.float32)
    latents[0] = 7
    with pytest.raises(EngineError, match="broke"):
        batches.evaluate(targets, latents, with_gradient=True)
    batches.close()
    assert [gradient.sizes for gradient in gradients] == [[2], [1, 1]]
