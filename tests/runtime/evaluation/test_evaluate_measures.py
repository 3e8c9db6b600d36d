"""What is measured of one output, with drawn faces."""

import cv2
import numpy as np
import pytest
from judge_models import write_model
from PIL import Image

from vera.errors import RefusedError
from vera.evaluation import BASELINES
from vera.evaluation.baselines import draw_baseline
from vera.evaluation.matchers import judge_matchers, own_matcher
from vera.evaluation.measure import Instruments, describe, measure
from vera.evaluation.originals import open_original
from vera.gate.recogniser import Recogniser

REGIONS = ("mouth", "nose", "eyes")


@pytest.fixture
def original(photo, fake_engines):
    return open_original(photo, REGIONS, fake_engines)


@pytest.fixture
def tools(fake_bundle, fake_engines):
    return Instruments(fake_engines, [own_matcher(fake_bundle, fake_engines)], REGIONS)


def figures_of(original, output, keep, tools):
    points = original.face.points
    before = describe(original.image, points, original, REGIONS, tools)
    return measure(original, before, output, keep, tools).figures


def test_a_photograph_without_a_face_is_no_original(tmp_path, fake_engines, fakes):
    path = tmp_path / "wall.png"
    Image.fromarray(np.zeros((320, 320, 3), np.uint8)).save(path)
    assert open_original(path, REGIONS, fake_engines) is None
    assert open_original(tmp_path / "missing.png", REGIONS, fake_engines) is None


def test_the_photograph_itself_is_found_kept_and_identified(original, tools):
    figures = figures_of(original, original.image, "none", tools)
    assert figures["cosine/vera-embedder"] == pytest.approx(1, abs=1e-5)
    assert figures["detected"] == 1
    assert figures["box_iou"] == pytest.approx(1)
    for region in REGIONS:
        assert figures[f"exact/{region}"] == 1
        assert figures[f"iou/{region}"] == 1
        assert figures[f"offset_px/{region}"] == 0
        assert f"psnr/{region}" not in figures
    assert figures["age"] == figures["yaw"] == 0
    assert "seam" not in figures


def test_a_change_shows_in_its_region_alone(original, tools):
    output = original.image.copy()
    mouth = original.regions["mouth"]
    output[mouth] = np.where(output[mouth] >= 10, output[mouth] - 10, output[mouth] + 10)
    figures = figures_of(original, output, "none", tools)
    assert figures["l1/mouth"] == pytest.approx(10)
    assert figures["psnr/mouth"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-4)
    assert figures["exact/mouth"] == 0
    assert figures["exact/nose"] == figures["exact/eyes"] == 1


def test_a_lost_face_is_no_detection_and_has_no_attributes(original, tools):
    dark = (original.image // 64).astype(np.uint8)  # the fake detector sees no faces in the dark
    figures = figures_of(original, dark, "none", tools)
    assert figures["detected"] == 0
    assert not {"age", "box_iou", "offset/mouth"} & set(figures)
    assert "cosine/vera-embedder" in figures


def test_the_larger_cosine_of_two_alignments_counts(original, tools, fake_engines, fakes):
    """The output's own points look at its hair; the original's still see the original."""
    shift = np.array([9.0, -14.0])

    def moved(photo):
        found = dict(type(fake_engines)._detector(fake_engines, photo))
        ratio = photo.shape[-1] / fake_engines.side
        found["points"] = (found["points"] + shift * ratio).astype(np.float32)
        return found

    fake_engines.overrides["detector"] = moved
    figures = figures_of(original, original.image, "none", tools)
    assert figures["cosine/vera-embedder"] == pytest.approx(1, abs=1e-5)


def test_a_hidden_region_is_hidden_from_vera_and_judges_alike(
    original, fake_bundle, fake_engines, tmp_path
):
    judge = Recogniser(write_model(tmp_path / "face.onnx"), values="0..255")
    matchers = [
        own_matcher(fake_bundle, fake_engines),
        *judge_matchers([judge], [(0.5, None, "said so")], []),
    ]
    tools = Instruments(fake_engines, matchers, REGIONS)
    eyes = original.regions["eyes"]
    other = original.image.copy()
    # A little less than the region: where the crop is resampled, pixels of its rim mix with others.
    inner = cv2.erode(eyes.astype(np.uint8), np.ones((5, 5))) > 0
    other[inner] = 255 - other[inner]
    points = original.face.points
    first, second = (
        describe(image, points, original, REGIONS, tools) for image in (original.image, other)
    )
    for matcher in matchers:
        seen = [one.embeddings[matcher.name] for one in (first, second)]
        masked = [one.masked["eyes"][matcher.name] for one in (first, second)]
        assert seen[0] @ seen[1] < 0.9999
        assert masked[0] @ masked[1] == pytest.approx(1, abs=1e-6)


def test_regions_have_the_margin_of_the_outputs(photo, original, fake_engines):
    wide = open_original(photo, REGIONS, fake_engines, margin="6px").regions["mouth"]
    mouth = original.regions["mouth"]
    assert wide[mouth].all()
    assert wide.sum() > mouth.sum()


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_change_the_face_and_keep_the_region(name, original, fake_engines, fake_bundle):
    before = original.image.copy()
    image = draw_baseline(name, original, "mouth", fake_engines, fake_bundle)
    mouth, nose = original.regions["mouth"], original.regions["nose"] & ~original.regions["mouth"]
    assert np.array_equal(image[mouth], before[mouth])
    assert (image[nose] != before[nose]).any(axis=1).mean() > 0.5
    assert np.array_equal(image[:8], before[:8])  # far from the face
    assert np.array_equal(original.image, before)


def test_a_baseline_without_its_region_is_refused(photo, fake_engines, fake_bundle):
    original = open_original(photo, (), fake_engines)
    with pytest.raises(RefusedError, match="was not found"):
        draw_baseline("blur", original, "mouth", fake_engines, fake_bundle)
