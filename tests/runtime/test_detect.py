"""The detection stage, with a stand-in for the engine that sees red rectangles."""

import numpy as np
import numpy.typing as npt
import pytest

from vera.errors import ShapeError
from vera.face.detect import LONG_SIDES, Face, box_iou, detect, merge

FIVE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
Tensor = npt.NDArray[np.float32]


class RedEngine:
    """Answers like the detector: one candidate for each red level it sees, and keeps its inputs."""

    def __init__(self, score: float = 0.9) -> None:
        self.score = score
        self.seen: list[Tensor] = []

    def __call__(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.append(photo)
        _, _, h, w = photo.shape
        m = (h // 8) * (w // 8)
        scores = np.zeros((1, m), np.float32)
        boxes, points = np.zeros((1, m, 4), np.float32), np.zeros((1, m, 5, 2), np.float32)
        red = (photo[0, 0] + 1) * 127.5
        for k, level in enumerate((250, 200)):
            rows, columns = np.nonzero(np.abs(red - level) < 20)
            if not len(rows) or min(np.ptp(rows), np.ptp(columns)) < 3:
                continue  # none, or only the soft edge of the other level
            low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
            scores[0, k] = self.score
            boxes[0, k] = *(low - 0.5), *(high + 0.5)
            points[0, k] = low + FIVE * (high - low)
        return scores, boxes, points


def photo(h: int, w: int, *rectangles: tuple[int, int, int, int, int]) -> npt.NDArray[np.uint8]:
    image = np.zeros((h, w, 3), np.uint8)
    for x1, y1, x2, y2, level in rectangles:
        image[y1:y2, x1:x2, 0] = level
    return image


def face(x: float, y: float, side: float, score: float) -> Face:
    box = np.array([x, y, x + side, y + side])
    return Face(box, np.array([x, y]) + FIVE * side, score)


@pytest.mark.parametrize(("h", "w"), [(480, 640), (1200, 901), (97, 131), (3000, 200)])
def test_boxes_and_points_are_in_pixels_of_the_photograph(h: int, w: int) -> None:
    x1, y1, x2, y2 = w // 4, h // 3, w // 4 + w // 2, h // 3 + h // 4
    (found,) = detect(RedEngine(), photo(h, w, (x1, y1, x2, y2, 250)))
    off = 0.75 + max(h, w) / min(LONG_SIDES)  # a pixel of the smallest input
    np.testing.assert_allclose(found.box, [x1 - 0.5, y1 - 0.5, x2 - 0.5, y2 - 0.5], atol=off)
    low, high = np.array([x1, y1]), np.array([x2 - 1, y2 - 1])
    np.testing.assert_allclose(found.points, low + FIVE * (high - low), atol=off)
    assert found.box.dtype == found.points.dtype == np.float64
    assert found.side_px == pytest.approx(max(x2 - x1, y2 - y1), abs=2 * off)


def test_the_engine_gets_padded_float_tensors_in_its_range() -> None:
    engine = RedEngine()
    detect(engine, photo(333, 1001, (0, 0, 1001, 333, 255)))
    assert len(engine.seen) == len(LONG_SIDES)
    for tensor in engine.seen:
        assert tensor.dtype == np.float32
        assert tensor.shape[2] % 32 == tensor.shape[3] % 32 == 0
        assert tensor.min() == -1.0
        assert tensor.max() == 1.0


def test_a_photograph_is_never_enlarged_more_than_twice() -> None:
    engine = RedEngine()
    detect(engine, photo(40, 50))
    assert max(max(t.shape[2:]) for t in engine.seen) <= 128


def test_faces_come_largest_first() -> None:
    image = photo(400, 600, (10, 10, 60, 80, 250), (200, 50, 500, 350, 200))
    found = detect(RedEngine(), image)
    assert len(found) == 2
    assert found[0].area_px > found[1].area_px


def test_a_face_below_the_threshold_is_not_reported() -> None:
    image = photo(200, 200, (50, 50, 150, 150, 250))
    assert detect(RedEngine(0.3), image, threshold=0.4) == []
    assert len(detect(RedEngine(0.3), image, threshold=0.2)) == 1


def test_a_face_in_the_padding_is_dropped() -> None:
    def sees_padding(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w = tensor.shape[3]  # 192, of which 170 are the photograph
        box = np.array([[[w - 12, 4, w - 4, 12]]], np.float32)
        return np.ones((1, 1), np.float32), box, np.zeros((1, 1, 5, 2), np.float32)

    assert detect(sees_padding, photo(300, 170), long_sides=(300,)) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_a_wrong_image_is_refused_with_its_shape(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ShapeError, match=r"uint8 \[h, w, 3\], got "):
        detect(RedEngine(), image)


def test_merging_averages_what_overlaps_by_squared_score() -> None:
    (merged,) = merge([face(10, 10, 100, 0.4), face(14, 10, 100, 0.8)])
    assert merged.score == 0.8
    np.testing.assert_allclose(merged.box, [13.2, 10, 113.2, 110])  # weights 0.2 and 0.8
    np.testing.assert_allclose(merged.points, np.array([13.2, 10]) + FIVE * 100)


def test_merging_keeps_neighbours_apart_in_any_order() -> None:
    faces = [face(0, 0, 50, 0.9), face(60, 0, 50, 0.5), face(2, 1, 50, 0.6)]
    merged = merge(faces)
    assert [f.score for f in merged] == [0.9, 0.5]
    for other in (faces[::-1], [faces[1], faces[2], faces[0]]):
        again = merge(other)
        assert [f.score for f in again] == [0.9, 0.5]
        np.testing.assert_allclose(again[0].box, merged[0].box)


def test_a_weaker_candidate_inside_a_face_is_a_part_of_it() -> None:
    merged = merge([face(40, 40, 30, 0.6), face(0, 0, 100, 0.9), face(90, 90, 30, 0.7)])
    assert [f.score for f in merged] == [0.9, 0.7]
    np.testing.assert_allclose(merged[0].box, [0, 0, 100, 100])


def test_merging_nothing_gives_nothing() -> None:
    assert merge([]) == []


def test_overlap_of_boxes_has_known_values() -> None:
    box = np.array([0.0, 0.0, 10.0, 10.0])
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4]], np.float64)
    np.testing.assert_allclose(box_iou(box, others), [1, 1 / 3, 0, 0.04])
