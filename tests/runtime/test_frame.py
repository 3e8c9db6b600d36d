"""The aligned square: upright, at about the photograph's scale, and nothing lost on the way."""

import numpy as np
import pytest

from vera.face.detect import detect
from vera.face.faces import align_face, detector
from vera.face.frame import SIDES, frame_photo, framed_face, moved_face
from vera.pixels.align import crop_matrix, warp_to_crop


def _framed(fakes, scale: float, left: float = 40.0, top: float = 50.0, mask=None):
    side = int(330 * max(scale, 1))
    place = ((scale, left, top),)
    engines = fakes.Engines(faces=place, side=side)
    photo = fakes.draw_photo(faces=place, side=side)
    face = align_face(photo, detect(detector(engines), photo)[0], engines)
    return photo, face, frame_photo(photo, mask, face)


@pytest.mark.parametrize(("scale", "side"), [(0.5, 256), (1.0, 256), (1.7, 512), (2.0, 512)])
def test_the_square_has_about_the_faces_own_resolution(fakes, scale: float, side: int) -> None:
    _, _, framed = _framed(fakes, scale)
    assert framed.image.shape == (side, side, 3)
    assert side in SIDES


def test_the_face_lies_where_its_crop_says(fakes) -> None:
    _, face, framed = _framed(fakes, 1.7)
    inside = framed_face(face, framed)
    assert inside.box == (0, 0, 512, 512)
    again = warp_to_crop(framed.image, inside.matrix, 256)
    assert np.abs(again.astype(int) - face.crop)[20:-20, 20:-20].mean() < 2
    assert np.abs(crop_matrix(inside.points) - inside.matrix).max() < 1e-6
    assert np.array_equal(inside.labels, face.labels)


def test_the_detected_box_comes_along(fakes) -> None:
    _, face, framed = _framed(fakes, 1.7)
    moved = moved_face(face.found, framed)
    ratio = (moved.box[2] - moved.box[0]) / (face.found.box[2] - face.found.box[0])
    assert ratio == pytest.approx(512 / (256 * 1.7), rel=0.01)
    assert np.abs(moved.points - framed_face(face, framed).points).max() < 2


def test_a_mask_of_the_photograph_is_found_in_the_square(fakes) -> None:
    photo, face, _ = _framed(fakes, 1.7)
    x, y = face.points[2].round().astype(int)
    mask = np.zeros(photo.shape[:2], bool)
    mask[y - 20 : y + 21, x - 20 : x + 21] = True
    framed = frame_photo(photo, mask, face)
    nose = framed_face(face, framed).points[2].round().astype(int)
    assert framed.mask[nose[1], nose[0]]
    assert framed.mask.sum() == pytest.approx((41 * 512 / (256 * 1.7)) ** 2, rel=0.1)


def test_beyond_the_photograph_nothing_is_black_sharp_or_mirrored(fakes) -> None:
    _, face, framed = _framed(fakes, 1.0, left=-80.0, top=20.0)
    outside = framed.image[:, :30].astype(int)
    assert outside.min() > 20
    assert np.abs(np.diff(outside, axis=0)).max() <= 3
    assert framed_face(face, framed).crop.shape == (256, 256, 3)


def test_a_square_inside_the_photograph_is_not_softened(fakes) -> None:
    photo, face, framed = _framed(fakes, 1.0, left=30.0, top=30.0)
    assert np.array_equal(framed.image, warp_to_crop(photo, face.matrix, 256))
