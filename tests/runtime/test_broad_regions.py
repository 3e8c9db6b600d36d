"""Skin and hair, which border on every other part; margins; and what is too much to keep."""

import cv2
import numpy as np
import pytest
from part_map import SCALE, at_photo_scale, class_number, face_labels, face_place, face_shares

from vera.errors import RefusedError
from vera.pixels.align import Box
from vera.region.regions import kept_from_file, kept_mask
from vera.request.keep import Keep


@pytest.fixture(name="place")
def _place() -> tuple[np.ndarray, Box]:
    return face_place()


# --- skin and hair


def test_hair_is_kept_to_its_last_pixel_and_no_other_part_of_the_face(
    place: tuple[np.ndarray, Box],
) -> None:
    labels = face_labels()
    labels[70:112, 80:84] = class_number("hair")  # a lock that hangs into the brow
    kept = kept_mask(face_shares(labels), Keep.parse("hair"), *place)
    wanted = at_photo_scale(labels == class_number("hair"), *place)
    assert (kept & wanted).sum() / wanted.sum() > 0.99
    for name in ("brow", "eye", "nose", "mouth", "ear"):
        part = at_photo_scale(labels == class_number(name), *place)
        assert (kept & part).sum() / part.sum() < 0.1


def test_lock_that_hangs_free_is_kept_with_the_hair(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    labels[200:230, 50:66] = class_number("hair")
    kept = kept_mask(face_shares(labels), Keep.parse("hair"), *place)
    lock = np.zeros_like(labels)
    lock[200:230, 50:66] = 1
    wanted = at_photo_scale(lock > 0, *place)
    assert (kept & wanted).sum() / wanted.sum() > 0.99


def test_skin_is_forehead_cheeks_and_chin_and_leaves_room_around_the_features(
    place: tuple[np.ndarray, Box],
) -> None:
    labels = face_labels()
    kept = kept_mask(face_shares(labels), Keep.parse("skin"), *place)
    spots = np.zeros_like(labels)
    for x, y in ((128, 80), (88, 160), (168, 160), (128, 215)):
        spots[y - 4 : y + 5, x - 4 : x + 5] = 1
    assert kept[at_photo_scale(spots > 0, *place)].all()
    features = np.isin(labels, [class_number(name) for name in ("eye", "brow", "mouth", "nose")])
    near = cv2.dilate(
        features.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    )
    assert not kept[at_photo_scale(near > 0, *place)].any()


def test_no_narrow_strip_of_skin_is_kept_between_features(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    kept = kept_mask(face_shares(labels), Keep.parse("skin"), *place)
    between = np.zeros_like(labels)
    between[105:118, 90:103] = 1  # of brow and eye
    between[164:178, 122:135] = 1  # of nose and mouth, twice the room apart
    assert not kept[at_photo_scale(between > 0, *place)].any()


def test_a_mole_that_the_parser_takes_for_a_brow_is_kept_with_the_skin(
    place: tuple[np.ndarray, Box],
) -> None:
    labels = face_labels()
    labels[74:78, 126:130] = class_number("brow")
    kept = kept_mask(face_shares(labels), Keep.parse("skin"), *place)
    mole = np.zeros_like(labels)
    mole[74:78, 126:130] = 1
    assert kept[at_photo_scale(mole > 0, *place)].all()


# --- the margin


def _reach(kept: np.ndarray, inner: np.ndarray) -> float:
    """How far ``kept`` goes beyond ``inner``, in pixels."""
    distance = cv2.distanceTransform((~inner).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(distance[kept].max())


def test_margin_takes_the_place_of_the_built_in_one(place: tuple[np.ndarray, Box]) -> None:
    shares, keep = face_shares(face_labels()), Keep.parse("mouth")
    bare = kept_mask(shares, keep, *place, 0.0)
    assert _reach(kept_mask(shares, keep, *place, 12.0), bare) == pytest.approx(12, abs=0.7)
    assert _reach(kept_mask(shares, keep, *place), bare) == pytest.approx(1.5 * SCALE, abs=0.7)


def test_skin_with_a_margin_swallows_no_other_part(place: tuple[np.ndarray, Box]) -> None:
    labels = face_labels()
    kept = kept_mask(face_shares(labels), Keep.parse("skin"), *place, 40.0)
    assert kept[at_photo_scale(labels == class_number("neck"), *place)].any()
    for name in ("eye", "brow", "nose", "mouth", "ear"):
        part = cv2.erode((labels == class_number(name)).astype(np.uint8), np.ones((3, 3)))
        assert not kept[at_photo_scale(part > 0, *place)].any()


def test_mask_grows_by_its_margin_and_from_beside_the_box(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    mask = np.zeros((900, 860), bool)
    mask[500:560, 350:420] = True
    mask[400:404, box.left - 6 : box.left - 2] = True  # beside the box
    kept = kept_from_file(mask, face_shares(face_labels()), matrix, box, 10.0)
    assert kept.shape == box.shape
    assert _reach(box.embed(kept, mask.shape), mask) == pytest.approx(10, abs=0.5)
    assert kept[400 - box.top, 0]
    assert not kept_from_file(mask, face_shares(face_labels()), matrix, box)[400 - box.top, 0]


# --- too much


def test_skin_with_features_leaves_nobody_to_anonymise(place: tuple[np.ndarray, Box]) -> None:
    shares = face_shares(face_labels())
    assert kept_mask(shares, Keep.parse("skin"), *place).any()
    with pytest.raises(RefusedError, match="of the face, more than the 60%") as refusal:
        kept_mask(shares, Keep.parse("skin,mouth,nose"), *place)
    assert refusal.value.reason == "nothing-to-anonymise"
