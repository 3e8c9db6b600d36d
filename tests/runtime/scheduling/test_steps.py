"""Gradient steps of several cases share the machine and stay what they are alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vera.bundle import load_bundle
from vera.engines import OnnxEngines
from vera.errors import CancelledError, EngineError
from vera.face.faces import find_faces
from vera.identity.inversion import InversionConfig, invert, start
from vera.identity.objective import OneByOne
from vera.identity.target import make_target
from vera.scheduling.batches import Batches
from vera.scheduling.job import Control
from vera.scheduling.lanes import Lanes
from vera.scheduling.supervised import SupervisedEngines, SupervisedSteps

CONFIG = InversionConfig(steps=2)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle()


@pytest.fixture(scope="module")
def engines(bundle):
    return OnnxEngines(bundle, threads=2)


@pytest.fixture
def targets(fakes, fake_engines, bundle, engines):
    """Three drawn faces as the real engines' loss wants them."""
    faces = [find_faces(fakes.draw_photo(n), fake_engines)[0][0] for n in range(3)]
    weights = bundle.feature_weights
    return [make_target(face, (320, 320), engines, weights, CONFIG.weights) for face in faces]


def _alone():
    return False


def _in_company():
    return True


@pytest.mark.slow
@pytest.mark.parametrize("shared", [_alone, _in_company])
def test_lanes_give_the_bits_of_one_by_one(targets, engines, bundle, shared):
    latents = start(targets, engines, bundle)
    wanted = OneByOne(engines).evaluate(targets, latents, with_gradient=True)
    lanes = Lanes(engines, 2, shared)
    found = lanes.evaluate(targets, latents, with_gradient=True)
    single = lanes.evaluate(targets[1:2], latents[1:2], with_gradient=True)
    lanes.close()
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])
    assert np.array_equal(single[1][0], wanted[1][1])
    assert np.abs(wanted[1]).max() > 0


@pytest.mark.slow
def test_cases_that_step_together_each_get_the_bits_of_a_lone_run(targets, engines, bundle):
    latents = start(targets, engines, bundle)
    wanted = OneByOne(engines).evaluate(targets, latents, with_gradient=True)
    lanes = Lanes(engines, 2, _in_company)
    with ThreadPoolExecutor(3) as cases:
        found = [
            cases.submit(lanes.evaluate, [target], latents[i : i + 1], with_gradient=True)
            for i, target in enumerate(targets)
        ]
        for i, future in enumerate(found):
            assert np.array_equal(future.result()[1][0], wanted[1][i])
    lanes.close()


@pytest.mark.slow
def test_batches_agree_with_one_by_one_and_serve_several_cases(targets, engines, bundle):
    latents = start(targets, engines, bundle)
    losses, grads = OneByOne(engines).evaluate(targets, latents, with_gradient=True)
    batches = Batches(engines, largest=4)
    with ThreadPoolExecutor(2) as cases:
        one = cases.submit(batches.evaluate, targets[:1], latents[:1], with_gradient=False)
        rest = cases.submit(batches.evaluate, targets[1:], latents[1:], with_gradient=True)
        alone, together = one.result(), rest.result()
    whole = batches.evaluate(targets, latents, with_gradient=True)
    batches.close()
    np.testing.assert_allclose(whole[0], losses, rtol=1e-5)
    assert np.abs(whole[1] - grads).max() <= 1e-5 * np.abs(grads).max()
    np.testing.assert_allclose(alone[0], losses[:1], rtol=1e-5)
    assert not alone[1].any()
    assert np.abs(together[1] - grads[1:]).max() <= 1e-5 * np.abs(grads).max()


def test_broken_step_is_told_to_every_case_of_its_batch(targets, fake_engines):
    class Broken:
        def forward(self, latent):
            raise EngineError("The engine broke; use another bundle.")

    fake_engines.gradient = lambda **_: Broken()
    for evaluator in (Batches(fake_engines), Lanes(fake_engines, 2, _in_company)):
        latents = np.zeros((2, 32, 64), np.float32)
        with pytest.raises(EngineError, match="broke"):
            evaluator.evaluate(targets[:2], latents, with_gradient=True)
        evaluator.close()


def test_inversion_is_cancelled_between_two_steps(fakes, fake_engines, fake_bundle):
    control = Control()
    engines = SupervisedEngines(fake_engines, control)
    steps = SupervisedSteps(OneByOne(engines), control)
    face = find_faces(fakes.draw_photo(), fake_engines)[0][0]

    def progress(done):
        if control.steps == 3:
            control.cancel()

    with pytest.raises(CancelledError):
        invert(
            [face],
            [(320, 320)],
            engines,
            fake_bundle,
            InversionConfig(steps=20),
            progress,
            evaluator=steps,
        )
    assert control.steps == 3


def test_cancelled_case_cannot_run_an_engine(fake_engines):
    control = Control()
    engines = SupervisedEngines(fake_engines, control)
    control.cancel()
    with pytest.raises(CancelledError):
        engines.run("detector", photo=np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(CancelledError):
        engines.gradient()
    assert fake_engines.calls == []


def test_lanes_are_opened_once_for_each_thread(targets, fake_engines):
    opened = []
    real = type(fake_engines).gradient

    def gradient(**settings):
        opened.append((threading.current_thread().name, settings.get("threads")))
        return real(fake_engines, **settings)

    fake_engines.gradient = gradient
    lanes = Lanes(fake_engines, 2, _in_company)
    latents = np.zeros((3, 32, 64), np.float32)
    for _ in range(4):
        lanes.evaluate(targets, latents, with_gradient=True)
    lanes.close()
    assert 1 <= len(opened) <= 2
    assert {threads for _, threads in opened} == {1}
