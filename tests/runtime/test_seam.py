import json

import numpy as np
import pytest

from vera.errors import ShapeError
from vera.gate.seam import measure_seam, seam_shows, seam_warning
from vera.report import SeamReport

SIDE = 200
MATRIX = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])  # two photo pixels per crop pixel


@pytest.fixture
def photo():
    slope = np.linspace(90, 140, SIDE)[None, :, None]
    noise = np.random.default_rng(1).normal(0, 2, (SIDE, SIDE, 3))
    return np.clip(slope + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def changed():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[60:140, 50:150] = True
    return mask


def _lighter(photo, where, by):
    output = photo.copy()
    output[where] = np.clip(output[where].astype(int) + by, 0, 255)
    return output


def test_unchanged_photograph_has_no_seam(photo, changed):
    report = measure_seam(photo, photo, changed, MATRIX)
    assert (report.step, report.step_p95) == (0, 0)
    assert report.pixels == 2 * (80 + 100) - 4


@pytest.mark.parametrize("by", [12, -12, 40])
def test_step_is_measured_in_grey_levels(photo, changed, by):
    report = measure_seam(photo, _lighter(photo, changed, by), changed, MATRIX)
    assert report.step == pytest.approx(abs(by), abs=2)
    assert seam_shows(report)
    assert "look at the picture" in seam_warning(report)


def test_part_of_the_border_shows_in_the_95th_percentile(photo, changed):
    side = np.zeros_like(changed)
    side[60:140, 50:60] = True
    report = measure_seam(photo, _lighter(photo, side, 40), changed, MATRIX)
    assert report.step < 4
    assert report.step_p95 > 30
    assert seam_shows(report)


def test_edge_that_was_there_is_no_seam(photo, changed):
    edged = _lighter(photo, changed, 60)
    assert measure_seam(edged, edged, changed, MATRIX).step_p95 == 0
    assert measure_seam(edged, photo, changed, MATRIX).step_p95 == 0  # an edge may go, too


def test_border_to_the_kept_region_counts(photo, changed):
    kept = np.zeros_like(changed)
    kept[90:110, 80:120] = True
    output = _lighter(photo, changed & ~kept, 30)
    outer = measure_seam(photo, output, changed, MATRIX).pixels
    both = measure_seam(photo, output, changed & ~kept, MATRIX)
    assert both.pixels > outer + 100
    assert both.step == pytest.approx(30, abs=2)


def test_chance_equality_makes_no_border(photo, changed):
    output = _lighter(photo, changed, 30)
    speckled = changed.copy()
    speckled[65:135:9, 55:145:9] = False
    assert measure_seam(photo, output, speckled, MATRIX) == measure_seam(
        photo, output, changed, MATRIX
    )


@pytest.mark.parametrize("value", [True, False])
def test_no_border_is_no_seam(photo, value):
    report = measure_seam(photo, photo, np.full((SIDE, SIDE), value), MATRIX)
    assert report == SeamReport(0.0, 0.0, 0)
    assert not seam_shows(report)


def test_report_is_strict_json(photo, changed):
    report = measure_seam(photo, 255 - photo, changed, MATRIX)
    json.dumps([report.step, report.step_p95, report.pixels], allow_nan=False)


def test_nan_is_warned_of():
    assert seam_shows(SeamReport(float("nan"), 0.0, 5))
    assert seam_shows(SeamReport(0.0, float("nan"), 5))


def test_other_sizes_are_refused(photo, changed):
    with pytest.raises(ShapeError, match="must be of the size of the photograph"):
        measure_seam(photo, photo[:-1], changed, MATRIX)
