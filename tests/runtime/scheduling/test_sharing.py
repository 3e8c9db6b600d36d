"""Several cases in one anonymizer, with the networks of the package."""

import numpy as np
import pytest

from vera import Anonymizer, contract
from vera.bundle import load_bundle
from vera.case.local import LocalCases
from vera.engines import OnnxEngines
from vera.errors import BusyError, UsageError


@pytest.fixture(scope="module")
def photos():
    from skimage.data import astronaut

    face = np.ascontiguousarray(astronaut()[:300, 80:380])
    return [face, np.ascontiguousarray(face[:, ::-1])]


@pytest.mark.slow
def test_results_depend_neither_on_company_nor_on_threads(photos):
    options = {"keep": "mouth", "seed": 7, "steps": 3}
    with Anonymizer(threads=1) as lone, Anonymizer(workers=3, threads=2) as shared:
        wanted = [lone.anonymize([photo], **options)[0] for photo in photos]
        pair = lone.anonymize(photos, **options)
        jobs = [shared.submit([photo], **options) for photo in photos]
        both = shared.submit(photos, **options)
        for job, one in zip(jobs, wanted, strict=True):
            found = job.result(120)[0]
            assert np.array_equal(found.image, one.image)
            assert found.report.faces == one.report.faces
        for found, one in zip(both.result(120), pair, strict=True):
            assert np.array_equal(found.image, one.image)
        assert jobs[0].times.steps == 4


@pytest.mark.slow
def test_engines_give_the_same_bits_on_any_number_of_threads():
    bundle = load_bundle()
    random = np.random.default_rng(3)
    few = [OnnxEngines(bundle, threads=count) for count in (1, 2, 3)]
    for name, spec in contract.engines(bundle.layout).items():
        if spec.saved or name not in bundle.engines:
            continue
        inputs = {
            tensor.name: random.uniform(-1, 1, [1, *(s or 96 for s in tensor.shape[1:])])
            for tensor in spec.inputs
        }
        inputs = {key: value.astype(np.float32) for key, value in inputs.items()}
        first, *others = [engines.run(name, **inputs) for engines in few]
        for other in others:
            assert all(np.array_equal(first[key], other[key]) for key in first), name


def test_full_anonymizer_tells_it_is_busy(photos, fake_bundle, fake_engines):
    with Anonymizer.over(LocalCases(fake_bundle, queue=0, engines=fake_engines)) as anonymizer:
        held = []

        def progress(stage, fraction):
            if not held:
                held.append(stage)
                with pytest.raises(BusyError):
                    anonymizer.submit([photos[0]])

        anonymizer.anonymize([photos[0]], seed=1, steps=0, progress=progress)
    assert held


def test_unknown_setting_of_a_submitted_case_is_refused(fake_bundle, fake_engines, photos):
    anonymizer = Anonymizer.over(LocalCases(fake_bundle, engines=fake_engines))
    with pytest.raises(UsageError, match="no setting 'step'"):
        anonymizer.submit(photos, step=3)


def test_url_and_settings_of_this_machine_exclude_each_other():
    with pytest.raises(UsageError, match="the server decides"):
        Anonymizer(url="grpc://localhost:1", threads=2)
