import numpy as np
import pytest

from vera.detect import detect
from vera.errors import RefusedError
from vera.faces import detector, find_faces
from vera.gate import MARGIN, check_face, check_kept, far_enough, refusal


@pytest.fixture
def photo(fakes):
    return fakes.draw_photo()


@pytest.fixture
def face(photo, fake_engines):
    return find_faces(photo, fake_engines)[0][0]


def test_unchanged_photograph_has_cosine_one(photo, face, fake_engines):
    check = check_face(photo, face, detect(detector(fake_engines), photo), fake_engines)
    assert check.cosine == pytest.approx(1, abs=1e-4)
    assert check.found
    assert not check.passes(0.99)


def test_face_that_is_gone_does_not_pass(photo, face, fake_engines):
    check = check_face(255 - photo, face, [], fake_engines)
    assert check.cosine < 0.5
    assert not check.passes(0.99)


def test_face_elsewhere_is_not_the_face(photo, face, fake_engines, fakes):
    elsewhere = detect(detector(fakes.Engines(((0.3, 0.0, 0.0),))), photo)
    assert not check_face(photo, face, elsewhere, fake_engines).found


def test_larger_cosine_of_both_alignments_counts(photo, face, fake_engines):
    found = detect(detector(fake_engines), photo)
    likeness = iter([0.1, 0.9])

    def embedder(face):
        cosine = next(likeness)
        other = np.roll(original, 1) - np.roll(original, 1) @ original * original
        mixed = cosine * original + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
        return {"embedding": mixed[None].astype(np.float32)}

    original = face.embedding
    fake_engines.overrides["embedder"] = embedder
    assert check_face(photo, face, found, fake_engines).cosine == pytest.approx(0.9, abs=1e-3)


def test_margin_is_kept_and_nan_never_passes():
    assert far_enough(0.5 - 2 * MARGIN, 0.5)
    assert not far_enough(0.5 - MARGIN / 2, 0.5)
    assert not far_enough(float("nan"), 0.5)


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


def test_refusal_says_what_failed():
    assert refusal(0.7, 0.5, 8).reason == "identity-too-close"
    assert "0.70" in str(refusal(0.7, 0.5, 8))
    assert refusal(0.1, 0.5, 8).reason == "face-lost"
