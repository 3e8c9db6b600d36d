import numpy as np
import pytest

from vera import contract
from vera.errors import EngineError
from vera.identity.proposals import DRAWS

_TWO = ((0.7, 20.0, 30.0), (0.5, 180.0, 150.0))


def test_face_is_replaced_and_the_rest_is_the_photograph(run, fakes):
    photo = fakes.draw_photo()
    image, report = run([photo])[0]
    assert report.verdict == "anonymized"
    changed = (image != photo).any(2)
    assert changed[140:250, 120:190].mean() > 0.9
    assert not changed[:40].any()
    assert not changed[:, :40].any()
    assert report.faces[0].identity_cosine < report.faces[0].threshold
    assert report.faces[0].draws == 1
    assert report.inversion.loss_after < report.inversion.loss_before


def test_kept_mouth_is_the_photograph_bit_for_bit(run, fakes):
    photo = fakes.draw_photo()
    image, report = run([photo], keep="mouth")[0]
    mouth = (slice(211, 225), slice(138, 173))
    assert np.array_equal(image[mouth], photo[mouth])
    assert report.keep == ("mouth",)
    assert report.kept.pixels_compared > 500
    assert report.kept.max_difference == 0


def test_mask_of_an_array_is_kept(run, fakes):
    photo = fakes.draw_photo()
    mask = np.zeros(photo.shape[:2], bool)
    mask[200:230, 130:180] = True
    image, report = run([photo], keep=mask)[0]
    assert np.array_equal(image[mask], photo[mask])
    assert report.keep == ("mask",)
    assert report.kept.pixels_compared == mask.sum()


def test_mask_is_kept_beyond_the_crop_of_the_patient(run, fakes):
    photo = fakes.draw_photo()
    mask = np.zeros(photo.shape[:2], bool)
    mask[:3, :3] = True
    mask[150:170, 150:170] = True
    result = run([photo], keep=mask)[0]
    assert result[1].kept.pixels_compared == mask.sum()


def test_photograph_that_cannot_be_worked_on_refuses_itself_only(run, fakes, fake_engines):
    calls = fake_engines.calls
    before = fake_engines.run

    def odd_first(name, **inputs):
        if name == "parser" and calls.count("parser") == 0:
            calls.append("parser")
            raise ValueError("jane_doe.png is odd")
        return before(name, **inputs)

    fake_engines.run = odd_first
    first, second = (report for _, report in run([fakes.draw_photo(), fakes.draw_photo()]))
    assert (first.verdict, first.reason) == ("refused", "failed")
    assert "jane_doe" not in first.to_json()
    assert second.verdict == "anonymized"


def test_mask_of_another_size_refuses_its_photograph_only(run, fakes):
    photo = fakes.draw_photo()
    good = np.zeros(photo.shape[:2], bool)
    good[200:230, 130:180] = True
    (image, report), (other, _) = run([photo, photo], keep=[good[:-1], good])
    assert (image, report.reason) == (None, "unusable-mask")
    assert other is not None


def test_same_seed_same_bytes_and_other_seed_other_face(run, fakes):
    photo = fakes.draw_photo()
    first, again, other = (run([photo], seed=seed)[0][0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert (first != other).any()


def test_result_does_not_depend_on_earlier_calls(run, fakes):
    photo = fakes.draw_photo()
    first = run([photo])[0][0]
    run([fakes.draw_photo(9)])
    assert np.array_equal(first, run([photo])[0][0])


def test_pair_gets_one_identity(run, fakes):
    results = run([fakes.draw_photo(0), fakes.draw_photo(1)], keep="mouth")
    assert [report.mode for _, report in results] == ["paired", "paired"]
    assert all(report.pair_cosines[0] > 0.9 for _, report in results)
    assert len({report.faces[0].draws for _, report in results}) == 1


def test_photograph_without_a_face_is_refused_and_the_others_go_on(run, fakes):
    black = np.zeros((320, 320, 3), np.uint8)
    (image, report), (other, done) = run([black, fakes.draw_photo()])
    assert (image, report.verdict, report.reason) == (None, "refused", "no-face")
    assert report.message.startswith("No face was found")
    assert other is not None
    assert done.mode == "paired"


def test_small_face_is_refused_with_its_size(run, fakes):
    small = ((0.12, 100.0, 100.0),)
    image, report = run([fakes.draw_photo(0, small)], engines=fakes.Engines(small))[0]
    assert (image, report.reason) == (None, "face-too-small")
    assert "26 px" in report.message


def test_region_that_is_not_there_is_refused(run, fakes, fake_engines):
    bare = np.where(fakes.labels == contract.CLASSES.index("mouth"), 1, fakes.labels)
    logits = (np.arange(13)[:, None, None] == bare[None]).astype(np.float32) * 8
    fake_engines.overrides["parser"] = lambda crop: {"logits": logits[None]}
    image, report = run([fakes.draw_photo()], keep="mouth")[0]
    assert (image, report.reason) == (None, "region-not-found")


def test_every_face_is_replaced_by_another_person(run, fakes):
    photo = fakes.draw_photo(2, _TWO)
    image, report = run([photo], engines=fakes.Engines(_TWO), keep="mouth")[0]
    assert [face.patient for face in report.faces] == [True, False]
    assert report.faces[0].box[1] > report.faces[1].box[1]
    for centre in ((124, 110), (224, 254)):  # x, y of a cheek in each face
        patch = (slice(centre[1] - 4, centre[1] + 4), slice(centre[0] - 4, centre[0] + 4))
        assert (image[patch] != photo[patch]).any()


def _bare(fakes, fake_engines, score):
    """A second detection in which the parser sees skin and nothing else."""
    engines = fakes.Engines(_TWO)
    detector, parser, seen = engines._detector, engines._parser, []

    def doubtful(photo):
        found = detector(photo)
        return {**found, "scores": np.array([[0.9, score]], np.float32)}

    def bare(crop):
        seen.append(1)
        logits = parser(crop)["logits"]
        if len(seen) == 2:
            logits[:, 2:7] = 0
        return {"logits": logits}

    engines.overrides.update(detector=doubtful, parser=bare)
    return engines


def test_doubtful_detection_without_parts_of_a_face_is_left_and_told(run, fakes, fake_engines):
    image, report = run([fakes.draw_photo(2, _TWO)], engines=_bare(fakes, fake_engines, 0.75))[0]
    assert image is not None
    assert len(report.faces) == 1
    assert "Detections that may be faces left as they are: 1." in report.warnings


def test_sure_detection_stays_a_face_whatever_the_parser_sees(run, fakes, fake_engines):
    _, report = run([fakes.draw_photo(2, _TWO)], engines=_bare(fakes, fake_engines, 0.9))[0]
    assert report.verdict == "refused" or len(report.faces) == 2


def test_largest_only_leaves_the_others_and_says_so(run, fakes):
    photo = fakes.draw_photo(2, _TWO)
    image, report = run([photo], engines=fakes.Engines(_TWO), faces="largest")[0]
    assert len(report.faces) == 1
    assert np.array_equal(image[160:, 200:], photo[160:, 200:])
    assert any("left as they are: 1" in text for text in report.warnings)


def test_identity_that_stays_close_is_refused_after_all_draws(run, fakes, fake_engines):
    same = np.zeros((1, 128), np.float32)
    same[0, 0] = 1
    fake_engines.overrides["embedder"] = lambda face: {"embedding": same}
    image, report = run([fakes.draw_photo()])[0]
    assert (image, report.reason) == (None, "identity-too-close")
    assert report.faces == ()
    assert fake_engines.calls.count("generator") == DRAWS


def test_later_draw_is_taken_when_the_first_is_too_close(run, fakes, fake_engines):
    embed, seen = fake_engines._embedder, []

    def embedder(face):
        seen.append(embed(face)["embedding"])
        return {"embedding": seen[0] if len(seen) <= 2 else seen[-1]}

    fake_engines.overrides["embedder"] = embedder
    image, report = run([fakes.draw_photo()])[0]
    assert image is not None
    assert report.faces[0].draws == 2


def test_face_that_is_lost_in_the_output_is_refused(run, fakes, fake_engines):
    photo, detect = fakes.draw_photo(), fake_engines._detector
    looks: list[float] = []

    def detector(photo):
        looks.append(float(photo.mean()))
        return detect(photo if len(looks) <= 2 else np.full_like(photo, -1))

    fake_engines.overrides["detector"] = detector
    image, report = run([photo])[0]
    assert (image, report.reason) == (None, "face-lost")


def test_bystander_that_cannot_be_replaced_refuses_the_photograph(run, fakes):
    engines = fakes.Engines(_TWO)
    embed = engines._embedder
    bystander = []

    def embedder(face):
        found = embed(face)["embedding"]
        bystander.append(found)
        return {"embedding": bystander[1] if engines.calls.count("generator") > 1 else found}

    engines.overrides["embedder"] = embedder
    image, report = run([fakes.draw_photo(2, _TWO)], engines=engines)[0]
    assert (image, report.reason) == (None, "identity-too-close")


@pytest.mark.parametrize("engine", ["detector", "parser", "encoder", "generator", "embedder"])
def test_failing_engine_ends_the_call(run, fakes, fake_engines, engine):
    def broken(**inputs):
        raise EngineError(f"Engine {engine} failed.")

    fake_engines.overrides[engine] = broken
    with pytest.raises(EngineError, match=engine):
        run([fakes.draw_photo()])


def test_contradicting_second_pass_keeps_the_detectors_points(run, fakes, fake_engines):
    attributes = fake_engines._attributes

    def elsewhere(face):
        found = attributes(face)
        return {**found, "points": found["points"] + 40}

    fake_engines.overrides["attributes"] = elsewhere
    image, report = run([fakes.draw_photo()])[0]
    assert image is not None
    assert report.faces[0].eye_distance_px == pytest.approx(62.96 * 0.9 * 320 / 256 / 1.25, abs=1)


def test_progress_never_falls_and_ends_at_one(run, fakes):
    told: list[float] = []
    run([fakes.draw_photo(2, _TWO)], engines=fakes.Engines(_TWO), told=told)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_input_is_never_written_to(run, fakes):
    photo = fakes.draw_photo()
    before = photo.copy()
    run([photo], keep="mouth")
    assert np.array_equal(photo, before)
