"""The blurred surroundings: nothing is to be read in them, and people and kept pixels stay."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vera.face.detect import detect
from vera.face.faces import AlignedFace, align_face, detector
from vera.pixels.align import rescaled
from vera.rendering.background import blur_background

SIDE = 512
PLACE = (0.9, 140.0, 150.0)


@pytest.fixture
def faces(fakes) -> list[AlignedFace]:
    engines = fakes.Engines(faces=(PLACE,), side=SIDE)
    photo = fakes.draw_photo(faces=(PLACE,), side=SIDE)
    return [align_face(photo, detect(detector(engines), photo)[0], engines)]


@pytest.fixture
def photo(fakes) -> np.ndarray:
    return fakes.draw_photo(faces=(PLACE,), side=SIDE)


def _nothing(image: np.ndarray) -> np.ndarray:
    return np.zeros(image.shape[:2], bool)


@pytest.mark.parametrize("height", [8, 14, 20, 28])
def test_two_texts_in_letters_up_to_half_the_eyes_distance_look_the_same(
    faces, height: int
) -> None:
    walls = []
    for text in ("ANNE 4711", "EDNA 1174"):
        wall = np.full((SIDE, SIDE, 3), 230, np.uint8)
        scale = height / 21  # a capital of this font is 21 pixels high
        cv2.putText(wall, text, (5, 90), cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), 2)
        walls.append(blur_background(wall, faces, _nothing(wall)))
    assert np.abs(walls[0].astype(int) - walls[1]).max() < 0.02 * 210


def test_the_face_and_hair_stay_bit_for_bit(photo, faces) -> None:
    blurred = blur_background(photo, faces, _nothing(photo))
    x, y = faces[0].points[2].astype(int)
    face = np.s_[y - 70 : y + 20, x - 50 : x + 51]
    assert np.array_equal(blurred[face], photo[face])
    assert not np.array_equal(blurred[:60], photo[:60])


def test_kept_pixels_stay_bit_for_bit_wherever_they_are(photo, faces) -> None:
    kept = _nothing(photo)
    kept[5:40, 7:300] = True
    kept[300:380, 250:300] = True
    blurred = blur_background(photo, faces, kept)
    assert np.array_equal(blurred[kept], photo[kept])


def test_no_halo_of_the_person_lies_around_it(photo, faces) -> None:
    red = np.full_like(photo, (0, 60, 0))
    person = np.abs(photo.astype(int) - photo[:1].astype(int)).max(2) > 25
    person = cv2.morphologyEx(person.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9))) > 0
    red[person] = (250, 60, 0)
    blurred = blur_background(red, faces, _nothing(red))
    x, y = faces[0].points[:2].mean(0).astype(int)
    beside = blurred[y - 60 : y, x + 95 : x + 110]  # inside the crop, next to the hair
    assert beside[..., 0].max() < 25


def test_beyond_the_crop_shoulders_are_blurred_without_an_edge(photo, faces) -> None:
    stripes = np.where((np.arange(SIDE) // 4 % 2)[None, :, None], 255, 0)
    striped = np.broadcast_to(stripes, photo.shape).astype(np.uint8)
    blurred = blur_background(striped, faces, _nothing(striped)).astype(int)
    below = blurred[faces[0].box.bottom + 2 :]
    assert np.ptp(below) < 25
    side = np.abs(np.diff(blurred.mean(1), axis=0)).max()
    assert side < 12


def test_things_apart_from_the_person_are_blurred_even_if_taken_for_cloth(faces) -> None:
    face = faces[0]
    shares = face.shares.copy()
    shares[:, 30:60, 225:250] = 0
    shares[9, 30:60, 225:250] = 1
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    blurred = blur_background(noise, [replace(face, shares=shares)], _nothing(noise))
    x, y = (np.linalg.inv(face.matrix[:, :2]) @ ((237, 45) - face.matrix[:, 2])).astype(int)
    assert blurred[y - 5 : y + 5, x - 5 : x + 5].std() < 12


def test_without_any_background_in_sight_the_blur_is_still_defined(faces) -> None:
    face = faces[0]
    shares = np.zeros_like(face.shares)
    shares[1] = 1
    small = np.full((120, 120, 3), 77, np.uint8)
    closer = replace(face, shares=shares, matrix=np.array([[1.0, 0, 68], [0, 1.0, 68]]))
    assert np.array_equal(blur_background(small, [closer], _nothing(small)), small)


def test_memory_stays_within_a_few_times_the_photograph(faces) -> None:
    large = np.full((2400, 3000, 3), 90, np.uint8)
    face = replace(faces[0], matrix=rescaled(faces[0].matrix, 0.2))
    kept = _nothing(large)
    tracemalloc.start()
    blur_background(large, [face], kept)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * large.nbytes
