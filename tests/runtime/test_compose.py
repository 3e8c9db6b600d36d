"""The composed photograph: untouched where promised, seamless where replaced, repeatable."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vera.errors import RefusedError, ShapeError
from vera.pixels.align import FFHQ, crop_matrix, face_scale, mask_to_photo, photo_box
from vera.rendering.compose import ComposeConfig, Replacement, compose, kept_difference

PLAIN = ComposeConfig(match_grain=False)


def _photo(height: int = 460, width: int = 500, level: float = 120.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([level + x / 40, level + y / 40, np.full(x.shape, level)], axis=-1)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).round().astype(np.uint8)


def _mask() -> np.ndarray:
    mask = np.zeros((256, 256), np.float32)
    cv2.ellipse(mask, (128, 140), (60, 78), 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), 1.0)


def _replacement(
    photo: np.ndarray, level: float = 140.0, scale: float = 1.4, *, keep: bool = True
) -> Replacement:
    turned = (FFHQ.points - 128) @ np.array([[0.98, 0.199], [-0.199, 0.98]])
    matrix = crop_matrix(turned * scale + (photo.shape[1] / 2, photo.shape[0] / 2))
    box = photo_box(matrix, 256, photo.shape)
    kept = np.zeros(box.shape, bool)
    if keep:
        middle = (box.shape[1] // 2, box.shape[0] // 2 + 50)
        drawn = cv2.ellipse(np.zeros(box.shape, np.uint8), middle, (40, 17), 0, 0, 360, 1, -1)
        kept = drawn.astype(bool)
    crop = np.full((256, 256, 3), level, np.float32)
    return Replacement(crop, _mask(), matrix, box, kept)


def _replaced(photo: np.ndarray, place: Replacement) -> np.ndarray:
    inner = (mask_to_photo(place.mask, place.matrix, place.box) >= 0.5) & ~place.kept
    return place.box.embed(inner, photo.shape)


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.4])
def test_photograph_is_untouched_outside_the_replaced_area(scale: float) -> None:
    photo = _photo()
    before = photo.copy()
    place = _replacement(photo, scale=scale, keep=scale > 1)
    output = compose(photo, place, seed=1)
    changed = (output != photo).any(axis=2)
    replaced = _replaced(photo, place)
    assert output.dtype == np.uint8
    assert output.shape == photo.shape
    assert not (changed & ~replaced).any()
    assert changed[replaced].mean() > 0.9
    assert np.array_equal(photo, before)


def test_kept_region_is_the_photograph_bit_for_bit() -> None:
    photo = _photo()
    place = _replacement(photo)
    kept = place.box.embed(place.kept, photo.shape)
    output = compose(photo, place, seed=1)
    assert np.array_equal(output[kept], photo[kept])
    assert kept_difference(photo, output, kept) == (int(kept.sum()), 0)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_grain() -> None:
    photo = _photo()
    place = _replacement(photo)
    first = compose(photo, place, seed=7)
    assert np.array_equal(first, compose(photo, place, seed=7))
    assert not np.array_equal(first, compose(photo, place, seed=8))


def test_a_share_of_none_leaves_the_photograph_and_one_of_all_changes_nothing() -> None:
    photo = _photo()
    place = _replacement(photo)
    whole = compose(photo, place, seed=1)
    everywhere = np.ones_like(place.mask)
    assert np.array_equal(compose(photo, replace(place, share=everywhere), seed=1), whole)
    none = compose(photo, replace(place, share=0 * everywhere), seed=1)
    assert np.array_equal(none, photo)


def test_a_half_share_mixes_both_pictures() -> None:
    photo = np.full((460, 500, 3), 120, np.uint8)
    place = replace(_replacement(photo, level=138.0, keep=False), share=np.full((256, 256), 0.5))
    place = replace(place, share=place.share.astype(np.float32))
    output = compose(photo, place, seed=1, config=PLAIN)
    inner = cv2.erode(_replaced(photo, place).astype(np.uint8), np.ones((121, 121), np.uint8)) > 0
    assert np.abs(output[inner].astype(int) - 129).max() <= 3


def test_tone_is_continued_over_the_seam() -> None:
    photo = np.full((460, 500, 3), 120, np.uint8)
    place = _replacement(photo, level=138.0)
    output = compose(photo, place, seed=1, config=PLAIN).astype(int)
    steps = np.abs(np.diff(output[..., 0], axis=0)).max(), np.abs(np.diff(output[..., 0])).max()
    assert max(steps) <= 3  # pasted, it would be 18


def test_generated_tone_rules_far_from_the_seam() -> None:
    photo = np.full((460, 500, 3), 120, np.uint8)
    place = _replacement(photo, level=138.0, keep=False)
    output = compose(photo, place, seed=1, config=PLAIN)
    inner = cv2.erode(_replaced(photo, place).astype(np.uint8), np.ones((121, 121), np.uint8)) > 0
    assert inner.any()
    assert np.abs(output[inner].astype(int) - 138).max() <= 4


def test_dark_hair_does_not_bleed_into_the_new_skin() -> None:
    photo = np.full((460, 500, 3), 120, np.uint8)
    place = _replacement(photo, level=130.0, keep=False)
    replaced = _replaced(photo, place)
    photo[~replaced & (np.arange(460)[:, None] < 200)] = 15
    output = compose(photo, place, seed=1, config=PLAIN)
    feather = int(np.ceil(PLAIN.feather * face_scale(place.matrix))) + 1
    inner = cv2.erode(replaced.astype(np.uint8), np.ones((2 * feather + 1,) * 2, np.uint8)) > 0
    assert output[inner].min() >= 110


def test_generated_face_gets_the_grain_of_the_photograph() -> None:
    photo = _photo()
    place = _replacement(photo, level=122.0, keep=False)
    inner = cv2.erode(_replaced(photo, place).astype(np.uint8), np.ones((41, 41), np.uint8)) > 0

    def grain(image: np.ndarray) -> float:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return float((grey - cv2.GaussianBlur(grey, (0, 0), 2.0))[inner].std())

    wanted = grain(photo)
    assert grain(compose(photo, place, seed=1, config=PLAIN)) < 0.3 * wanted
    assert grain(compose(photo, place, seed=1)) == pytest.approx(wanted, rel=0.15)


def test_face_at_the_photographs_edge_is_composed() -> None:
    photo = _photo()
    matrix = crop_matrix((FFHQ.points - 128) * 1.4 + (20, 30))
    box = photo_box(matrix, 256, photo.shape)
    crop = np.full((256, 256, 3), 140, np.uint8)
    place = Replacement(crop, _mask(), matrix, box, np.zeros(box.shape, bool))
    output = compose(photo, place, seed=1)
    assert (output != photo).any()
    assert not ((output != photo).any(axis=2) & ~_replaced(photo, place)).any()


def test_nothing_to_replace_is_refused() -> None:
    photo = _photo()
    place = _replacement(photo)
    everything = Replacement(
        place.crop, place.mask, place.matrix, place.box, np.ones(place.box.shape, bool)
    )
    with pytest.raises(RefusedError, match="leaves nothing of the face") as refusal:
        compose(photo, everything, seed=1)
    assert refusal.value.reason == "nothing-to-anonymise"


def test_kept_of_another_shape_is_refused() -> None:
    photo = _photo()
    place = _replacement(photo)
    wrong = Replacement(place.crop, place.mask, place.matrix, place.box, place.kept[1:])
    with pytest.raises(ShapeError, match="`kept` must be"):
        compose(photo, wrong, seed=1)


def test_large_photograph_costs_its_copy_and_the_faces_area_only() -> None:
    photo = np.full((4000, 6000, 3), 120, np.uint8)
    place = _replacement(photo, keep=False)
    tracemalloc.start()
    compose(photo, place, seed=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pixels = place.box.shape[0] * place.box.shape[1]
    assert peak < photo.nbytes + 200 * pixels


def test_difference_of_one_level_in_one_kept_pixel_is_found() -> None:
    photo = _photo()
    output = photo.copy()
    kept = np.zeros(photo.shape[:2], bool)
    kept[200:220, 100:130] = True
    output[0, 0] ^= 1
    assert kept_difference(photo, output, kept) == (600, 0)
    output[210, 110, 2] ^= 1
    assert kept_difference(photo, output, kept) == (600, 1)
    output[211, 111, 0] = 0  # downwards, where unsigned levels would wrap
    assert kept_difference(photo, output, kept) == (600, int(photo[211, 111, 0]))


def test_nothing_kept_compares_nothing() -> None:
    photo = _photo()
    assert kept_difference(photo, photo, np.zeros(photo.shape[:2], bool)) == (0, 0)


def test_masks_of_another_size_are_not_compared() -> None:
    photo = _photo()
    with pytest.raises(ShapeError, match="must be of the size"):
        kept_difference(photo, photo, np.zeros((3, 3), bool))
