import cv2
import numpy as np
import pytest

from vera.errors import ShapeError
from vera.face.faces import find_faces
from vera.gate.coverage import LARGEST_LEFT_SHARE, check_coverage, covered, refusal
from vera.pixels.align import mask_to_photo
from vera.region.replaced import require_face
from vera.rendering.strands import find_strands
from vera.report import CoverageReport

SMALL, LARGE = (0.9, 40.0, 50.0), (2.1, 40.0, 40.0)  # photo pixels per crop pixel, left, top


class Case:
    """A drawn photograph with its face replaced by another drawing of a face."""

    def __init__(self, fakes, place):
        side = round(place[0] * 256) + 90
        self.photo = fakes.draw_photo(seed=1, faces=(place,), side=side)
        self.face = find_faces(self.photo, fakes.Engines((place,), side))[0][0]
        self.kept = np.zeros((side, side), bool)
        # No edge of the other face lies exactly where one of this face does.
        other = (place[0], place[1] + 4, place[2] + 4)
        self.output = self.pasted(fakes.draw_photo(seed=2, faces=(other,), side=side), grow=3)

    def region(self, mask, grow=0):
        """A crop mask in the photograph."""
        if grow:
            mask = cv2.dilate(mask.astype(np.uint8), np.ones((2 * grow + 1,) * 2, np.uint8))
        box = self.face.box
        part = mask_to_photo(mask.astype(np.float32), self.face.matrix, box) >= 0.5
        return box.embed(part, self.photo.shape)

    def pasted(self, picture, grow):
        """The photograph with the face of ``picture``."""
        where = self.region(require_face(self.face.labels), grow)
        return np.where(where[..., None], picture, self.photo)

    def check(self, output, strands=None):
        return check_coverage(self.photo, output, self.face, self.kept, strands)


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def case(request, fakes):
    return Case(fakes, request.param)


@pytest.fixture
def large(fakes):
    return Case(fakes, LARGE)


def _square(side, x=90, y=150):
    mask = np.zeros((256, 256), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_replaced_face_leaves_nothing(case):
    report = case.check(case.output)
    assert covered(report)
    assert report.left == 0
    assert report.face_pixels == case.region(require_face(case.face.labels)).sum()


def test_photograph_itself_is_left_as_a_whole(case):
    report = case.check(case.photo)
    assert report.share_left > 0.8
    assert not covered(report)
    assert refusal(report).reason == "face-left"


@pytest.mark.parametrize("side", [10, 16])
def test_patch_of_the_original_is_found(case, side):
    patch = case.region(_square(side))
    report = case.check(np.where(patch[..., None], case.photo, case.output))
    assert not covered(report)
    assert report.left <= patch.sum()


def test_rim_of_the_jaw_is_found(large):
    part_map = require_face(large.face.labels)
    inside = cv2.distanceTransform(part_map.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    rim = part_map & (inside <= 5) & (np.arange(256)[:, None] > 150)
    output = np.where(large.region(rim)[..., None], large.photo, large.output)
    assert not covered(large.check(output))


def test_original_that_shines_through_is_found(large):
    patch = large.region(_square(30))[..., None]
    mixed = 0.75 * large.photo + 0.25 * large.output
    output = np.where(patch, np.rint(mixed).astype(np.uint8), large.output)
    assert not covered(large.check(output))


def test_brightened_original_is_found(large):
    patch = large.region(_square(30))[..., None]
    assert not covered(large.check(np.where(patch, large.photo + np.uint8(9), large.output)))


def test_face_cut_at_the_border_of_the_crop_is_found(large):
    """There the photograph goes on with the rest of the face, which nothing replaces."""
    large.face.labels[-40:, 60:200] = 1
    large.face.labels[200:, 90:170] = 1
    new = large.region(require_face(large.face.labels), 3)
    border = np.zeros((256, 256), bool)
    border[-6:] = True
    noise = np.random.default_rng(5).integers(0, 256, large.photo.shape, dtype=np.uint8)
    sound = np.where(new[..., None], noise, large.photo)
    assert covered(large.check(sound))
    assert not covered(large.check(np.where(large.region(border)[..., None], large.photo, sound)))


def test_kept_region_is_not_asked_for(case):
    case.kept = case.region(_square(40))
    before = case.check(case.output).face_pixels
    output = np.where(case.kept[..., None], case.photo, case.output)
    report = case.check(output)
    assert report.left == 0
    assert report.face_pixels == before
    assert before < case.region(require_face(case.face.labels)).sum()


def test_hair_in_front_is_excused_but_not_without_need(large):
    """A fringe drawn over the forehead stays; where no hair was said to be it counts."""
    fringe = np.zeros((256, 256), bool)
    fringe[62:70, 90:166] = True
    where = large.region(fringe)
    large.photo[where] = (60, 40, 40)
    output = np.where(where[..., None], large.photo, large.output)
    strands = find_strands(large.face.crop, large.face.labels)
    assert strands is not None
    assert large.check(output, strands).left < large.check(output).left


def test_hair_over_the_whole_face_excuses_nothing(large):
    strands = find_strands(large.face.crop, large.face.labels)
    strands.band[...] = strands.rim[...] = 1
    strands.hair[...] = large.face.crop
    assert not covered(large.check(large.photo, strands))


def test_burnt_out_pixels_prove_nothing(fakes):
    small = Case(fakes, SMALL)  # on a larger face the outline of the white would show
    white = small.region(_square(30))
    for level, equal in ((255, False), (250, True)):
        small.photo[white] = level
        output = np.where(white[..., None], small.photo, small.output)
        assert (small.check(output).left > 0) == equal


def test_nothing_to_check_proves_nothing(large):
    large.kept[...] = True
    report = large.check(large.photo)
    assert (report.face_pixels, report.share_left) == (0, 1.0)
    assert not covered(report)


def test_nan_is_not_covered():
    assert not covered(CoverageReport(100, 0, float("nan")))
    assert covered(CoverageReport(10_000, 10, LARGEST_LEFT_SHARE))


def test_other_sizes_are_refused(large):
    with pytest.raises(ShapeError, match="must be of the size of the photograph"):
        large.check(large.output[:-1])
