"""The bundle of the package on a real portrait (scikit-image's astronaut, public domain)."""

import numpy as np
import pytest
from skimage.data import astronaut

from vera import Anonymizer

pytestmark = pytest.mark.slow

_SETTINGS = {"seed": 5, "steps": 3, "keep": "mouth"}


@pytest.fixture(scope="module")
def anonymizer():
    return Anonymizer()


@pytest.fixture(scope="module")
def result(anonymizer):
    return anonymizer.anonymize([astronaut()], **_SETTINGS)[0]


def test_portrait_becomes_another_person(result):
    assert result.report.verdict == "anonymized", result.report.message
    face = result.report.faces[0]
    assert face.identity_cosine < face.threshold
    assert result.report.inversion.loss_after < result.report.inversion.loss_before


def test_mouth_is_the_photograph_and_the_eyes_are_not(result):
    photo = astronaut()
    assert result.report.kept.pixels_compared > 100
    assert result.report.kept.max_difference == 0
    lips, eyes = (slice(142, 150), slice(212, 236)), (slice(98, 107), slice(197, 211))
    assert np.array_equal(result.image[lips], photo[lips])
    assert (result.image[eyes] != photo[eyes]).any(2).mean() > 0.9
    assert np.array_equal(result.image[300:], photo[300:])


def test_same_seed_gives_the_same_bytes_in_a_new_process_state(result):
    again = Anonymizer().anonymize([astronaut()], **_SETTINGS)[0]
    assert np.array_equal(result.image, again.image)


def test_pair_of_one_person_stays_one_person(anonymizer):
    photo = astronaut()
    darker = (photo * 0.85).astype(np.uint8)
    results = anonymizer.anonymize([photo, darker], keep="mouth", seed=6)
    assert [r.report.verdict for r in results] == ["anonymized"] * 2, results[0].report.message
    for r in results:
        assert r.report.pair_cosines[0] > r.report.faces[0].threshold
        assert r.report.faces[0].draws == results[0].report.faces[0].draws


def test_picture_without_a_face_is_refused(anonymizer):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    refused = anonymizer.anonymize([noise], seed=1)[0]
    assert refused.image is None
    assert refused.report.reason == "no-face"
