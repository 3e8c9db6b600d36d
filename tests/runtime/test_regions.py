"""Kept regions: what is kept is found, what identifies is replaced."""

import cv2
import numpy as np
import pytest
from part_map import (
    at_photo_scale,
    class_number,
    draw_ellipse,
    face_labels,
    face_place,
    face_shares,
)

from vera.errors import RefusedError
from vera.pixels.align import Box
from vera.pixels.labels import probabilities, to_labels
from vera.region.regions import kept_from_file, kept_mask
from vera.region.replaced import generated_mask, require_face
from vera.request.keep import REGIONS, Keep


@pytest.fixture(name="place")
def _place() -> tuple[np.ndarray, Box]:
    return face_place()


# --- part maps


def test_probabilities_sum_to_one_and_keep_the_winner() -> None:
    logits = np.random.default_rng(0).normal(0, 40, (13, 32, 32)).astype(np.float32)
    shares = probabilities(logits, 32)
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(to_labels(shares), logits.argmax(axis=0))
    larger = probabilities(logits[None], 64)
    assert larger.shape == (13, 64, 64)
    assert np.allclose(larger.sum(axis=0), 1, atol=1e-5)


# --- the kept region


@pytest.mark.parametrize("name", [name for name in REGIONS if name not in ("skin", "hair")])
def test_kept_region_covers_its_class_and_little_else(
    place: tuple[np.ndarray, Box], name: str
) -> None:
    matrix, box = place
    labels = face_labels()
    kept = kept_mask(face_shares(labels), Keep.parse(name), matrix, box)
    wanted = at_photo_scale(labels == REGIONS[name][0], matrix, box)
    assert kept.shape == box.shape
    assert kept.dtype == np.bool_
    assert (kept & wanted).sum() / wanted.sum() > 0.99
    around = cv2.dilate(wanted.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)
    assert not (kept & ~around).any()


def test_none_keeps_nothing(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    assert not kept_mask(face_shares(face_labels()), Keep.parse("none"), matrix, box).any()


def test_edge_of_the_kept_region_is_smooth_at_the_photographs_resolution(
    place: tuple[np.ndarray, Box],
) -> None:
    matrix, box = place
    kept = kept_mask(face_shares(face_labels()), Keep.parse("mouth"), matrix, box)
    contours, _ = cv2.findContours(kept.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    (outline,) = contours
    ellipse = cv2.fitEllipse(outline)
    drawn = cv2.ellipse(np.zeros(kept.shape, np.uint8), ellipse, 1, -1).astype(bool)
    assert (drawn ^ kept).sum() / kept.sum() < 0.03


def test_specks_and_holes_of_the_parser_do_not_count(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    labels = face_labels()
    clean = kept_mask(face_shares(labels), Keep.parse("mouth"), matrix, box)
    labels[60:64, 60:64] = class_number("mouth")
    labels[185:188, 126:130] = class_number("skin")
    noisy = kept_mask(face_shares(labels), Keep.parse("mouth"), matrix, box)
    assert (noisy ^ clean).sum() / clean.sum() < 0.02


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("mouth", "mouth"),
        ("eyes", "eye"),
        ("mouth,nose", "nose"),
        ("ears", "ear"),
        ("hair", "hair"),
    ],
)
def test_region_that_is_not_there_is_refused(
    place: tuple[np.ndarray, Box], name: str, missing: str
) -> None:
    with pytest.raises(RefusedError, match="was not found in the face") as refusal:
        kept_mask(face_shares(face_labels(without=(missing,))), Keep.parse(name), *place)
    assert refusal.value.reason == "region-not-found"


def test_eyes_behind_sunglasses_are_not_found(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    cv2.rectangle(labels, (78, 108), (178, 134), class_number("glasses"), -1)
    with pytest.raises(RefusedError, match="eyes"):
        kept_mask(face_shares(labels), Keep.parse("eyes"), *place)


def test_glasses_in_front_of_the_eyes_are_kept_with_them(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    frame = np.zeros_like(labels)
    for x in (96, 160):
        cv2.ellipse(frame, (x, 120), (24, 16), 0, 0, 360, 1, 3)
    labels[(frame > 0) & (labels == class_number("skin"))] = class_number("glasses")
    kept = kept_mask(face_shares(labels), Keep.parse("eyes"), *place)
    wanted = at_photo_scale(labels == class_number("glasses"), *place)
    assert (kept & wanted).sum() / wanted.sum() > 0.95


def test_all_regions_together_still_leave_a_face_to_replace(place: tuple[np.ndarray, Box]) -> None:
    kept = kept_mask(face_shares(face_labels()), Keep.parse("mouth,nose,eyes,brows"), *place)
    assert kept.any()


def test_earrings_are_kept_with_the_ears(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    labels[154:168, 58:64] = class_number("earring")
    kept = kept_mask(face_shares(labels), Keep.parse("ears"), *place)
    wanted = at_photo_scale(labels == class_number("earring"), *place)
    assert (kept & wanted).sum() / wanted.sum() > 0.95


def test_rim_of_an_ear_under_the_hair_is_no_ear(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels(without=("ear",))
    labels[130:150, 62:66] = class_number("ear")
    with pytest.raises(RefusedError, match="ears"):
        kept_mask(face_shares(labels), Keep.parse("ears"), *place)


def test_neighbours_mouth_in_the_crop_is_not_kept(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    cv2.ellipse(labels, (16, 40), (15, 30), 0, 0, 360, class_number("skin"), -1)
    alone = kept_mask(face_shares(labels), Keep.parse("mouth"), *place)
    draw_ellipse(labels, "mouth", 12, 52, 9, 8)
    assert np.array_equal(kept_mask(face_shares(labels), Keep.parse("mouth"), *place), alone)


def test_joined_regions_are_what_each_of_them_is(place: tuple[np.ndarray, Box]) -> None:
    shares = face_shares(face_labels())
    joined = kept_mask(shares, Keep.parse("ears,hair,mouth"), *place)
    alone = [kept_mask(shares, Keep.parse(name), *place) for name in ("ears", "hair", "mouth")]
    assert np.array_equal(joined, np.logical_or.reduce(alone))


# --- a user's own mask


def test_mask_file_is_cut_to_the_face(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    mask = np.zeros((900, 860), bool)
    mask[500:560, 350:420] = True
    kept = kept_from_file(mask, face_shares(face_labels()), matrix, box)
    assert np.array_equal(kept, box.cut(mask))
    kept[...] = True
    assert mask.sum() == 60 * 70  # a copy


def test_mask_beside_the_face_is_refused(place: tuple[np.ndarray, Box]) -> None:
    mask = np.zeros((900, 860), bool)
    mask[:20, :20] = True
    with pytest.raises(RefusedError, match="does not touch the face") as refusal:
        kept_from_file(mask, face_shares(face_labels()), *place)
    assert refusal.value.reason == "region-not-found"


def test_mask_over_most_of_the_face_is_refused(place: tuple[np.ndarray, Box]) -> None:
    with pytest.raises(RefusedError, match=r"covers 100% of the face") as refusal:
        kept_from_file(np.ones((900, 860), bool), face_shares(face_labels()), *place)
    assert refusal.value.reason == "nothing-to-anonymise"


# --- what is replaced


def test_all_that_identifies_is_replaced_whatever_is_generated() -> None:
    original = face_labels()
    mask = generated_mask(original, face_labels(width=50, chin=-8)) >= 0.5
    for name in ("skin", "eye", "brow", "mouth", "nose", "ear"):
        assert mask[original == class_number(name)].mean() > 0.995


def test_wider_generated_face_wins_over_background_and_neck() -> None:
    original = face_labels()
    original[(original == class_number("hair")) & (np.arange(256)[:, None] > 120)] = 0
    generated = face_labels(width=70, chin=6)
    mask = generated_mask(original, generated) >= 0.5
    new = np.isin(generated, [class_number("skin"), class_number("ear")])
    scenery = np.isin(original, [class_number("background"), class_number("neck")])
    assert mask[new & scenery].mean() > 0.98


def test_hair_of_the_photograph_stays_in_front() -> None:
    original = face_labels()
    original[75:110, 118:124] = class_number("hair")  # a fringe that hangs from the hairline
    original[60:76, 70:180] = class_number("hair")
    generated = face_labels()
    mask = generated_mask(original, generated) >= 0.5
    inner = cv2.erode(
        (original == class_number("hair")).astype(np.uint8), np.ones((3, 3), np.uint8)
    )
    assert mask[inner > 0].mean() < 0.02


def test_rim_around_the_face_is_replaced_too() -> None:
    original = face_labels()
    original[original == class_number("hair")] = 0
    mask = generated_mask(original, original) >= 0.5
    face = np.isin(
        original, [class_number(n) for n in ("skin", "eye", "brow", "mouth", "nose", "ear")]
    )
    rim = cv2.dilate(face.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert mask[rim].mean() > 0.995


def test_background_and_clothes_stay() -> None:
    original = face_labels()
    mask = generated_mask(original, original) >= 0.5
    far = cv2.dilate((original != 0).astype(np.uint8), np.ones((13, 13), np.uint8)) == 0
    assert not mask[far].any()


def test_neighbours_face_in_the_crop_is_left_alone() -> None:
    original = face_labels()
    cv2.ellipse(original, (10, 20), (9, 14), 0, 0, 360, class_number("skin"), -1)
    assert not (generated_mask(original, face_labels())[:34, :20] >= 0.5).any()


def test_hole_of_the_parser_in_the_face_is_replaced() -> None:
    original = face_labels()
    original[160:168, 150:160] = 0
    assert (generated_mask(original, face_labels())[160:168, 150:160] >= 0.5).all()


def test_rim_of_the_crop_is_never_replaced() -> None:
    everything = np.full((256, 256), class_number("skin"), np.uint8)
    mask = generated_mask(everything, everything)
    assert mask.dtype == np.float32
    assert mask[0].max() < 0.5
    assert mask[:, -1].max() < 0.5
    assert mask[128, 128] == 1


def test_part_map_without_a_face_is_refused() -> None:
    nobody = np.full((256, 256), class_number("hair"), np.uint8)
    nobody[120:130, 90:100] = class_number("skin")
    for refusing in (lambda: require_face(nobody), lambda: generated_mask(nobody, face_labels())):
        with pytest.raises(RefusedError, match="could not be told apart") as refusal:
            refusing()
        assert refusal.value.reason == "face-unclear"
