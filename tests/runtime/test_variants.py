"""Several new identities for one case, and people that no other case has."""

import numpy as np
import pytest

from vera.anonymizer import Anonymizer
from vera.case.draw import SAME_PERSON, VARIANTS_APART, Wish
from vera.case.local import LocalCases
from vera.errors import RefusedError, UsageError


def test_variants_are_other_people_and_come_after_each_other(run, fakes):
    photos = [fakes.draw_photo(0), fakes.draw_photo(1)]
    results = run(photos, variants=3)
    assert [(r.variant, r.photo) for _, r in results] == [(v, p) for v in (1, 2, 3) for p in (1, 2)]
    images = [image for image, _ in results]
    assert all(image is not None for image in images)
    for first in range(3):
        for second in range(first):
            assert (images[2 * first] != images[2 * second]).any()
    assert all(len(r.variant_cosines) == 2 and r.variants == 3 for _, r in results)


def test_first_variant_is_the_one_without_variants(run, fakes):
    photo = fakes.draw_photo()
    alone, among = run([photo])[0][0], run([photo], variants=2)[0][0]
    assert np.array_equal(alone, among)


def test_variants_keep_their_distance_from_each_other_and_from_the_original(run, fakes):
    results = run([fakes.draw_photo()], variants=3, separation=0.6)
    done = [report for image, report in results if image is not None]
    assert len(done) >= 2
    assert all(face.identity_cosine < face.threshold for r in done for face in r.faces)


def test_variant_that_cannot_be_told_from_the_first_is_refused_alone(run, fakes, fake_engines):
    calls = []

    def embedder(face):
        calls.append(1)
        look = np.zeros((1, 128), np.float32)
        look[0, 0 if len(calls) == 1 else 1] = 1  # the original, then one and the same person
        return {"embedding": look}

    fake_engines.overrides["embedder"] = embedder
    (image, _), (other, report) = run([fakes.draw_photo()], variants=2)
    assert image is not None
    assert (other, report.reason) == (None, "identities-exhausted")


def test_every_variant_is_inverted_once(run, fakes, fake_engines):
    run([fakes.draw_photo()], variants=1)
    once = fake_engines.calls.count("encoder")
    run([fakes.draw_photo()], variants=3)
    assert fake_engines.calls.count("encoder") == 2 * once


def test_bystanders_of_all_variants_share_one_inversion(run, fakes):
    two = ((0.7, 20.0, 30.0), (0.5, 180.0, 150.0))
    engines = fakes.Engines(two)
    results = run([fakes.draw_photo(2, two)], engines=engines, variants=2)
    assert engines.calls.count("encoder") == 2
    assert all(len(r.faces) == 2 for image, r in results if image is not None)


@pytest.mark.parametrize("wanted", [0, 17])
def test_senseless_numbers_of_variants_are_refused(run, fakes, wanted):
    with pytest.raises(UsageError, match="variants must be from 1 to 16"):
        run([fakes.draw_photo()], variants=wanted)


@pytest.fixture
def anonymizer(fake_bundle, fake_engines):
    return Anonymizer.over(LocalCases(fake_bundle, engines=fake_engines))


def test_person_of_another_case_does_not_come_out_again(anonymizer, fakes):
    photo = fakes.draw_photo()
    first = anonymizer.anonymize([photo], seed=3, steps=1)[0]
    again = anonymizer.anonymize([photo], seed=3, steps=1)[0]
    np.testing.assert_array_equal(first.person, again.person)
    other = anonymizer.anonymize([photo], seed=3, steps=1, distinct_from=first.person[None])[0]
    assert other.report.faces[0].draws > first.report.faces[0].draws
    assert float(other.person @ first.person) < SAME_PERSON


def test_output_of_a_partly_refused_variant_counts_too(run, fakes, fake_engines, monkeypatch):
    """The other photographs of its case are refused, not this one: it is written."""
    seen = []

    def wished(self, photo, embedding):
        seen.append([len(faces) for faces in self.variants])
        return True

    monkeypatch.setattr(Wish, "parts_from_variants", wished)
    refused = []

    def final(version, engines, gate):
        if not refused:
            refused.append(1)
            raise RefusedError("face-left", "The first of all.")

    monkeypatch.setattr("vera.case.pipeline._final_gate", final)
    results = run([fakes.draw_photo(0), fakes.draw_photo(1)], variants=2)
    assert [image is None for image, _ in results] == [True, False, False, False]
    assert [0, 1] in seen


def test_wish_counts_its_own_limits():
    face = np.array([1.0, 0.0], np.float32)
    near = np.array([[np.cos(0.2), np.sin(0.2)]], np.float32)  # cosine 0.98
    assert not Wish(variants=(list(near),)).parts_from_variants(0, face)
    assert not Wish(people=near).parts_from_people(face)
    assert Wish(people=near, separation=0.99).parts_from_people(face)
    assert Wish(people=near[:0]).parts_from_people(face)
    assert VARIANTS_APART < SAME_PERSON
    assert not Wish(people=np.full((1, 2), np.nan, np.float32)).parts_from_people(face)
