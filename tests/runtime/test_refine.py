"""The refiner's place: after blending in the crop, before the photograph's own resolution."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vera.bundle import load_bundle
from vera.errors import BundleError
from vera.face.faces import find_faces
from vera.pixels.align import crop_matrix, image_to_photo, mask_to_crop, photo_box, rescaled
from vera.rendering.compose import ComposeConfig, Replacement, compose
from vera.rendering.refine import blend_crop, refine

SIZE = 256
_TWO = ((0.7, 20.0, 30.0), (0.5, 120.0, 120.0))


def disc(radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((SIZE, SIZE), np.float32), (128, 128), radius, 1, -1)


@pytest.fixture
def original() -> np.ndarray:
    ramp = np.broadcast_to(np.linspace(90, 130, SIZE)[None, :, None], (SIZE, SIZE, 3))
    return ramp.astype(np.uint8)


def test_blended_crop_is_the_photograph_outside_what_was_generated(original):
    kept = disc(20) > 0
    face = np.full((SIZE, SIZE, 3), 150, np.float32)
    blended, generated = blend_crop(face, disc(70), original, kept, None)
    same = generated == 0
    assert same[kept].all()
    np.testing.assert_array_equal(blended[same], original[same])
    assert (blended[generated == 1] != original[generated == 1]).mean() > 0.9


def test_no_step_of_tone_is_left_for_the_refiner(original):
    face = np.full((SIZE, SIZE, 3), 122, np.float32)
    blended, _ = blend_crop(face, disc(70), original, disc(0) > 0, None)
    assert np.abs(np.diff(blended[128].astype(int), axis=0)).max() <= 4  # pasted, it would be 22


def test_refined_crop_is_twice_as_large_and_changed_in_the_mask_only(original, fake_engines):
    mask = disc(60)
    refined = refine(original, mask, fake_engines)
    assert refined.shape == (2 * SIZE, 2 * SIZE, 3)
    difference = refined.astype(int) - np.repeat(np.repeat(original, 2, 0), 2, 1)
    inside = np.repeat(np.repeat(mask, 2, 0), 2, 1) > 0
    assert (difference[inside] == 8).all()
    assert (difference[~inside] == 0).all()


def test_a_crop_of_twice_the_side_lies_where_its_smaller_copy_does(fakes):
    matrix = crop_matrix(fakes.face_points(1.7, 30.0, 20.0))
    small = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE, 3)), (0, 0), 9)
    small = ((small - small.min()) * 255 / np.ptp(small)).astype(np.float32)
    large = cv2.resize(small, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_LINEAR)
    box = photo_box(matrix, SIZE, (500, 500))
    first = image_to_photo(small, matrix, box)
    second = image_to_photo(large, rescaled(matrix, 2), box)
    assert np.abs(first - second)[20:-20, 20:-20].max() < 2


def test_compose_takes_a_crop_of_twice_the_side(original, fakes):
    photo = fakes.draw_photo()
    matrix = crop_matrix(fakes.face_points(0.9, 40.0, 50.0))
    box = photo_box(matrix, SIZE, photo.shape)
    small = cv2.GaussianBlur(original, (0, 0), 3).astype(np.float32)
    large = cv2.resize(small, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_LINEAR)
    place = Replacement(small, disc(60), matrix, box, np.zeros(box.shape, bool))
    plain = ComposeConfig(match_grain=False)
    first = compose(photo, place, seed=0, config=plain)
    second = compose(photo, replace(place, crop=large), seed=0, config=plain)
    assert (first != photo).any()
    assert np.abs(first.astype(int) - second).max() <= 3


def test_kept_mask_comes_back_from_the_photograph_where_it_was(fakes):
    matrix = crop_matrix(fakes.face_points(1.3, 60.0, 40.0))
    box = photo_box(matrix, SIZE, (480, 480))
    kept = image_to_photo(np.repeat(disc(40)[..., None], 3, 2), matrix, box)[..., 0] >= 0.5
    assert (mask_to_crop(kept, matrix, box, SIZE) != (disc(40) > 0)).mean() < 0.002


def test_kept_pixels_stay_when_the_face_is_refined(fakes, fake_engines, run):
    [(image, report)] = run([fakes.draw_photo()], keep="mouth")
    assert image is not None
    assert "refiner" in fake_engines.calls
    assert report.kept.pixels_compared > 0
    assert report.kept.max_difference == 0


def test_a_bundle_without_refiner_composes_and_says_so(fakes, fake_engines, fake_bundle, run):
    engines = {k: v for k, v in fake_bundle.engines.items() if k != "refiner"}
    [(refined, _)] = run([fakes.draw_photo()])
    fake_engines.calls.clear()
    [(image, report)] = run([fakes.draw_photo()], bundle=replace(fake_bundle, engines=engines))
    assert image is not None
    assert "refiner" not in fake_engines.calls
    assert any("refiner" in warning for warning in report.warnings)
    assert (image != refined).any()


def test_a_bundle_may_lack_the_refiner_but_not_the_parser(bundle_folder):
    path = bundle_folder / "manifest.json"
    for name in ("refiner", "parser"):
        manifest = json.loads(path.read_text())
        del manifest["engines"][name], manifest["files"][f"{name}.onnx"]
        path.write_text(json.dumps(manifest))
        (bundle_folder / f"{name}.onnx").unlink()
        if name == "refiner":
            assert "refiner" not in load_bundle(bundle_folder).engines
    with pytest.raises(BundleError, match="parser"):
        load_bundle(bundle_folder)


def test_refined_output_is_the_same_for_the_same_seed(fakes, run):
    [(first, _)], [(second, _)] = (run([fakes.draw_photo()]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_second_face_is_blended_into_the_photograph_as_it_is_then(fakes, run, monkeypatch):
    seen = []

    def watched(face, mask, original, kept):
        seen.append(original.copy())
        return blend_crop(face, mask, original, kept)

    monkeypatch.setattr("vera.rendering.render.blend_crop", watched)
    engines, photo = fakes.Engines(_TWO), fakes.draw_photo(2, _TWO)
    run([photo], engines=engines)
    patient, bystander = find_faces(photo, engines)[0]
    np.testing.assert_array_equal(seen[0], patient.crop)
    assert not np.array_equal(seen[-1], bystander.crop)  # the patient beside it was replaced
