"""What is painted over is gone, and the rest is as it was."""

import numpy as np

from vera.face.hiding import paint_over
from vera.pixels.align import ARCFACE, crop_matrix, warp_to_crop

PHOTO = np.random.default_rng(0).integers(0, 256, (150, 140, 3), dtype=np.uint8)
MATRIX = crop_matrix(ARCFACE.points + np.array([12, 20]), ARCFACE, 112)
CROP = warp_to_crop(PHOTO, MATRIX, 112)


def test_nothing_of_a_hidden_region_is_left():
    region = np.zeros(PHOTO.shape[:2], np.bool_)
    region[60:90, 40:80] = True
    painted = paint_over(CROP, region, MATRIX)
    covered = (painted != CROP).any(2)
    assert covered[40:70, 28:68].mean() > 0.99
    assert not covered[:38].any()
    assert not covered[72:].any()
    assert len(np.unique(painted[41:69, 29:67].reshape(-1, 3), axis=0)) == 1


def test_a_region_elsewhere_or_everywhere_changes_nothing():
    for fill in (False, True):
        region = np.full(PHOTO.shape[:2], fill)
        assert np.array_equal(paint_over(CROP, region, MATRIX), CROP)
