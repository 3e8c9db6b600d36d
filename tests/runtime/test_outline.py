"""Outlines of the kept region: they give the region again, and stay small."""

import cv2
import numpy as np
import pytest

from vera.contract import CLASSES
from vera.pixels.align import FFHQ, crop_matrix, photo_box
from vera.region.outline import face_share, outline


def _again(polygons: tuple, shape: tuple[int, int]) -> np.ndarray:
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [np.array(polygon) for polygon in polygons], 1)
    return drawn.astype(bool)


def _ring() -> np.ndarray:
    ring = np.zeros((300, 400), np.uint8)
    cv2.ellipse(ring, (230, 150), (120, 80), 20, 0, 360, 1, -1)
    cv2.circle(ring, (230, 150), 30, 0, -1)
    cv2.rectangle(ring, (10, 20), (40, 60), 1, -1)
    return ring.astype(bool)


def test_outline_gives_the_region_again_with_its_holes() -> None:
    ring = _ring()
    polygons = outline(ring)
    assert len(polygons) == 3
    again = _again(polygons, ring.shape)
    rim = cv2.dilate(ring.astype(np.uint8), np.ones((5, 5))) - cv2.erode(
        ring.astype(np.uint8), np.ones((5, 5))
    )
    assert np.array_equal(again[rim == 0], ring[rim == 0])
    assert not again[150, 230]


def test_outline_is_in_pixels_of_the_photograph() -> None:
    mask = np.zeros((50, 80), bool)
    mask[20:31, 40:61] = True
    (square,) = outline(mask)
    assert set(square) == {(40, 20), (60, 20), (60, 30), (40, 30)}


def test_longest_polygon_comes_first() -> None:
    first, *others = outline(_ring())
    assert np.ptp([x for x, _ in first]) > 200
    assert others


def test_nothing_has_no_outline() -> None:
    assert outline(np.zeros((20, 20), bool)) == ()


def test_ragged_region_has_few_points() -> None:
    noise = np.random.default_rng(5).random((600, 600)).astype(np.float32)
    ragged = cv2.GaussianBlur(noise, (0, 0), 3) > 0.5
    polygons = outline(ragged)
    assert 0 < len(polygons) <= 32
    assert max(map(len, polygons)) <= 128
    assert outline(ragged) == polygons


def test_share_of_the_face_is_counted_in_photo_pixels() -> None:
    matrix = crop_matrix(FFHQ.points * 2 + 30)
    box = photo_box(matrix, 256, (620, 620))
    shares = np.zeros((len(CLASSES), 256, 256), np.float32)
    shares[CLASSES.index("skin"), 64:192, 64:192] = 1
    shares[CLASSES.index("background")] = 1 - shares[CLASSES.index("skin")]
    kept = np.zeros(box.shape, bool)
    assert face_share(kept, shares, matrix, box) == 0
    kept[: box.shape[0] // 2] = True
    assert face_share(kept, shares, matrix, box) == pytest.approx(0.5, abs=0.01)
    kept[:] = True
    assert face_share(kept, shares, matrix, box) == 1
    shares[:] = 0
    assert face_share(kept, shares, matrix, box) == 0
