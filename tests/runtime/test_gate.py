import numpy as np
import pytest

from vera.errors import RefusedError
from vera.face.detect import detect
from vera.face.faces import detector, find_faces
from vera.gate.gate import MARGIN, WARNING_BAND, Gate, check_face, check_kept
from vera.region.subject import Subject


@pytest.fixture
def photo(fakes):
    return fakes.draw_photo()


@pytest.fixture
def face(photo, fake_engines):
    return find_faces(photo, fake_engines)[0][0]


@pytest.fixture
def subject(photo, face):
    return Subject(photo, face, np.zeros(photo.shape[:2], bool))


GATE = Gate(0.99)


def test_unchanged_photograph_has_cosine_one(photo, subject, fake_engines):
    check = check_face(photo, subject, detect(detector(fake_engines), photo), fake_engines, GATE)
    assert check.cosine == pytest.approx(1, abs=1e-4)
    assert check.found
    assert GATE.refusal(check).reason == "identity-too-close"


def test_face_that_is_gone_does_not_pass(photo, subject, fake_engines):
    check = check_face(255 - photo, subject, [], fake_engines, GATE)
    assert check.cosine < 0.5
    assert GATE.refusal(check).reason == "face-lost"


def test_face_elsewhere_is_not_the_face(photo, subject, fake_engines, fakes):
    elsewhere = detect(detector(fakes.Engines(((0.3, 0.0, 0.0),))), photo)
    assert not check_face(photo, subject, elsewhere, fake_engines, GATE).found


def test_larger_cosine_of_both_alignments_counts(photo, face, subject, fake_engines):
    found = detect(detector(fake_engines), photo)
    likeness = iter([0.1, 0.9])

    def embedder(face):
        cosine = next(likeness)
        other = np.roll(original, 1) - np.roll(original, 1) @ original * original
        mixed = cosine * original + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
        return {"embedding": mixed[None].astype(np.float32)}

    original = face.embedding
    fake_engines.overrides["embedder"] = embedder
    check = check_face(photo, subject, found, fake_engines, GATE)
    assert check.cosine == pytest.approx(0.9, abs=1e-3)


def test_margin_is_kept_and_nan_never_passes():
    gate = Gate(0.5)
    assert gate.far_enough(0.5 - 2 * MARGIN)
    assert not gate.far_enough(0.5 - MARGIN / 2)
    assert not gate.far_enough(float("nan"))


def test_narrow_pass_is_in_the_warning_band():
    gate = Gate(0.5)
    assert gate.band(gate.limit - WARNING_BAND / 2) == "close"
    assert gate.band(gate.limit - 2 * WARNING_BAND) == "safe"
    assert gate.band(float("nan")) == "close"


def test_kept_pixels_are_all_compared(photo):
    kept = np.zeros(photo.shape[:2], bool)
    kept[10:20, 10:30] = True
    report = check_kept(photo, photo.copy(), kept)
    assert (report.pixels_compared, report.max_difference) == (200, 0)


def test_one_changed_kept_pixel_refuses(photo):
    kept = np.zeros(photo.shape[:2], bool)
    kept[10:20, 10:30] = True
    output = photo.copy()
    output[15, 15, 2] ^= 1
    with pytest.raises(RefusedError, match="kept region differs") as caught:
        check_kept(photo, output, kept)
    assert caught.value.reason == "kept-region-changed"
