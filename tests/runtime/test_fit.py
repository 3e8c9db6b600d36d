"""The fitted crop: the photograph's light, its outline, and no second copy of a kept part."""

import cv2
import numpy as np
import pytest

from vera.contract import CLASSES
from vera.region.replaced import Replacing
from vera.rendering.colour import match_colour
from vera.rendering.fit import fit_face
from vera.rendering.grain import add_grain

SKIN, MOUTH, HAIR, NECK = (CLASSES.index(n) for n in ("skin", "mouth", "hair", "neck"))


def _labels(hairline: int = 60, width: int = 64, mouth: int = 186) -> np.ndarray:
    labels = np.zeros((256, 256), np.uint8)
    cv2.ellipse(labels, (128, 116), (92, 98), 0, 0, 360, HAIR, -1)
    cv2.rectangle(labels, (0, 160), (255, 255), 0, -1)
    cv2.ellipse(labels, (128, 146), (width, 82), 0, 0, 360, SKIN, -1)
    labels[:hairline][labels[:hairline] == SKIN] = HAIR
    cv2.ellipse(labels, (128, mouth), (28, 10), 0, 0, 360, MOUTH, -1)
    return labels


def _painted(labels: np.ndarray, skin: tuple[int, int, int], hair: int = 30) -> np.ndarray:
    image = np.full((256, 256, 3), (90, 140, 90), np.uint8)
    image[labels == SKIN] = skin
    image[labels == HAIR] = hair
    image[labels == MOUTH] = (170, 60, 70)
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_skin_gets_the_photographs_tone() -> None:
    labels = _labels()
    generated, original = _painted(labels, (215, 170, 150)), _painted(labels, (150, 105, 85))
    matched = match_colour(generated, original, labels, labels)
    assert matched.dtype == np.float32
    assert np.abs(matched[labels == SKIN].mean(0) - (150, 105, 85)).max() < 4


def test_skin_gets_the_photographs_direction_of_light() -> None:
    labels = _labels()
    generated = _painted(labels, (180, 140, 120))
    light = np.linspace(0.75, 1.15, 256)[None, :, None]
    original = np.clip(generated * light, 0, 255).astype(np.uint8)
    matched = match_colour(generated, original, labels, labels)
    left, right = (matched[120:170, x][labels[120:170, x] == SKIN].mean() for x in (80, 176))
    wanted = original[120:170, 176].mean() - original[120:170, 80].mean()
    assert right - left == pytest.approx(wanted, abs=4)


def test_same_image_stays_as_it_is() -> None:
    labels = _labels()
    image = _painted(labels, (180, 140, 120))
    assert np.abs(match_colour(image, image, labels, labels) - image).max() < 0.5


def test_a_new_tone_stays_but_not_against_the_light() -> None:
    labels = _labels()
    generated, original = _painted(labels, (170, 130, 110)), _painted(labels, (150, 118, 104))
    matched = match_colour(generated, original, labels, labels, tone=False)
    assert np.abs(matched[labels == SKIN].mean(0) - (170, 130, 110)).max() < 4
    night = match_colour(generated, _painted(labels, (40, 30, 26)), labels, labels, tone=False)
    assert night[labels == SKIN].mean() < matched[labels == SKIN].mean() - 20


def test_a_new_tone_lies_under_the_photographs_direction_of_light() -> None:
    labels = _labels()
    generated = _painted(labels, (180, 140, 120))
    light = np.linspace(0.75, 1.15, 256)[None, :, None]
    original = np.clip(_painted(labels, (150, 118, 104)) * light, 0, 255).astype(np.uint8)
    matched = match_colour(generated, original, labels, labels, tone=False)
    left, right = (matched[120:170, x][labels[120:170, x] == SKIN].mean() for x in (80, 176))
    assert right - left > 12


def test_dark_hair_is_not_turned_black_by_darker_skin() -> None:
    labels = _labels()
    generated, original = (
        _painted(labels, (215, 170, 150), hair=60),
        _painted(labels, (120, 80, 65)),
    )
    matched = match_colour(generated, original, labels, labels)
    assert matched[labels == HAIR].mean() > 20


def test_without_skin_the_colours_stay() -> None:
    labels = _labels()
    image, other = _painted(labels, (180, 140, 120)), _painted(labels, (90, 60, 50))
    none = np.zeros_like(labels)
    assert np.array_equal(match_colour(image, other, labels, none), image)


def test_generated_hair_over_the_original_forehead_becomes_forehead() -> None:
    original, generated = _labels(hairline=66), _labels(hairline=100)
    tone = (180, 140, 120)
    crop, mask = fit_face(_painted(generated, tone), generated, _painted(original, tone), original)
    forehead = (original == SKIN) & (generated == HAIR)
    assert forehead.sum() > 1000
    assert (mask[forehead] > 0.4).mean() > 0.95
    assert np.abs(crop[forehead] - tone).max() < 15


def test_generated_background_takes_the_photographs() -> None:
    original, generated = _labels(width=64), _labels(width=52)
    tone = (180, 140, 120)
    photo = _painted(original, tone)
    photo[original == 0] = (200, 30, 220)
    crop, _ = fit_face(_painted(generated, tone), generated, photo, original)
    head = cv2.dilate((generated != 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    beside = (original == SKIN) & ~head  # its edge is soft
    assert beside.sum() > 200
    assert np.abs(crop[beside] - (200, 30, 220)).max() < 6


def test_new_hair_stays_where_the_photograph_shows_forehead() -> None:
    original, generated = _labels(hairline=66), _labels(hairline=100)
    tone = (180, 140, 120)
    arguments = (_painted(generated, tone), generated, _painted(original, tone), original)
    crop, mask = fit_face(*arguments, replacing=Replacing(hair=True))
    fringe = cv2.erode(((original == SKIN) & (generated == HAIR)).astype(np.uint8), np.ones((5, 5)))
    assert (mask[fringe > 0] >= 0.5).all()
    assert np.abs(crop[fringe > 0] - 30).max() < 15


def test_where_old_hair_was_the_photographs_background_goes_on() -> None:
    original, generated = _labels(), _labels()
    generated[generated == HAIR] = 0
    generated[:100][original[:100] == HAIR] = 0
    tone = (180, 140, 120)
    photo = _painted(original, tone)
    photo[original == 0] = (60, 90, 200)
    crop, mask = fit_face(
        _painted(generated, tone), generated, photo, original, replacing=Replacing(hair=True)
    )
    face = cv2.dilate((generated == SKIN).astype(np.uint8), np.ones((9, 9))) > 0
    bare = (original == HAIR) & ~face & (np.arange(256) > 3)[:, None]
    rim = cv2.dilate(bare.astype(np.uint8), np.ones((15, 15))) > 0
    rim &= (original == 0) & (mask < 0.5)
    assert (mask[bare] >= 0.5).all()
    assert np.abs(np.median(crop[bare], axis=0) - (60, 90, 200)).max() < 6
    # Beyond the border the two pictures agree, so that the blend finds no step of tone.
    assert np.abs(crop[rim] - (60, 90, 200)).max() < 12


def test_new_neck_is_continued_over_what_the_generator_dressed() -> None:
    original = _labels()
    cv2.rectangle(original, (96, 225), (160, 253), NECK, -1)
    generated = original.copy()
    generated[238:][generated[238:] == NECK] = CLASSES.index("cloth")
    new = _painted(generated, (120, 80, 60))
    new[generated == NECK] = (120, 80, 60)
    new[generated == CLASSES.index("cloth")] = (20, 200, 20)
    crop, mask = fit_face(
        new,
        generated,
        _painted(original, (180, 140, 120)),
        original,
        replacing=Replacing(tone=False),
    )
    neck = np.s_[244:250, 104:152]
    assert (mask[neck] >= 0.5).all()
    assert crop[neck].mean((0, 1))[1] < 110  # 200 where the cloth shows


def test_a_new_background_is_the_generated_one() -> None:
    labels = _labels()
    tone = (180, 140, 120)
    photo, new = _painted(labels, tone), _painted(labels, tone)
    photo[labels == 0], new[labels == 0] = (200, 30, 220), (20, 120, 90)
    everything = Replacing(hair=True, background=True, whole=True)
    crop, mask = fit_face(new, labels, photo, labels, replacing=everything)
    assert (mask >= 0.5).all()
    assert np.abs(crop[labels == 0] - (20, 120, 90)).mean() < 12


def test_copy_of_the_kept_mouth_is_smoothed_away() -> None:
    original, generated = _labels(mouth=186), _labels(mouth=194)
    tone = (180, 140, 120)
    arguments = (_painted(generated, tone), generated, _painted(original, tone), original)
    with_copy, _ = fit_face(*arguments)
    without, _ = fit_face(*arguments, kept_classes=(MOUTH,))
    lips = generated == MOUTH
    assert np.abs(with_copy[lips] - (170, 60, 70)).mean() < 20
    assert np.abs(without[lips] - tone).mean() < 5


def test_agreeing_outlines_leave_the_generated_face_alone() -> None:
    labels = _labels()
    image = _painted(labels, (180, 140, 120))
    crop, mask = fit_face(image, labels, image, labels)
    inner = cv2.erode(((mask > 0.5) & (labels == SKIN)).astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(crop[inner] - image[inner]).max() < 0.5


def _noisy(sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, (120, 150, 1))
    return np.clip(128 + noise, 0, 255).repeat(3, axis=2).round().astype(np.uint8)


def test_grain_reaches_the_photographs_strength() -> None:
    smooth = np.full((120, 150, 3), 128, np.uint8)
    everywhere = np.ones((120, 150), bool)
    grained = add_grain(smooth, _noisy(5), everywhere, seed=3)
    assert grained.std() == pytest.approx(5, rel=0.1)
    assert np.ptp(grained.astype(int), axis=2).max() == 0


def test_no_grain_is_added_where_there_is_enough() -> None:
    image = _noisy(6)
    assert np.array_equal(add_grain(image, _noisy(3), np.ones((120, 150), bool), seed=3), image)


def test_edges_of_the_photograph_do_not_count_as_grain() -> None:
    smooth = np.full((120, 150, 3), 128, np.uint8)
    striped = smooth.copy()
    striped[:, ::30] = 0
    grained = add_grain(smooth, striped, np.ones((120, 150), bool), seed=3)
    assert grained.std() < 1.5


def test_texture_coarser_than_asked_for_is_left_to_the_face() -> None:
    smooth, everywhere = np.full((120, 150, 3), 128, np.uint8), np.ones((120, 150), bool)
    grained = add_grain(smooth, _noisy(5), everywhere, seed=3, coarsest=0.8)
    all_octaves = add_grain(smooth, _noisy(5), everywhere, seed=3)
    coarse, finest = (cv2.GaussianBlur(x, (0, 0), 1.6).std() for x in (all_octaves, grained))
    assert finest < 0.7 * coarse
    assert grained.std() > 3
