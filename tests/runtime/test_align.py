"""Geometry: the template is met exactly, warps agree with each other, nothing aliases or shifts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vera.errors import ShapeError
from vera.pixels.align import (
    ARCFACE,
    FFHQ,
    Box,
    Template,
    crop_matrix,
    face_scale,
    image_to_photo,
    mask_to_photo,
    photo_box,
    to_image,
    to_tensor,
    warp_to_crop,
)

ANGLE = st.floats(-np.pi, np.pi)
SCALE = st.floats(0.1, 30.0)
SHIFT = st.floats(-3000.0, 3000.0)


def _similar(points: np.ndarray, scale: float, angle: float, x: float, y: float) -> np.ndarray:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + (x, y)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _waves(height: int, width: int) -> np.ndarray:
    """A smooth picture, so that interpolation errors are small and shifts are not."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [
        np.sin(x / 9 + 1) + np.cos(y / 7),
        np.sin((x + y) / 11),
        np.cos(x / 13) * np.sin(y / 10),
    ]
    return np.stack([127.5 + 55 * p for p in planes], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("template", [FFHQ, ARCFACE])
@given(scale=SCALE, angle=ANGLE, x=SHIFT, y=SHIFT)
def test_any_similar_copy_of_the_template_is_brought_back_to_it(
    template: Template, scale: float, angle: float, x: float, y: float
) -> None:
    matrix = crop_matrix(_similar(template.points, scale, angle, x, y), template)
    found = _apply(matrix, _similar(template.points, scale, angle, x, y))
    assert np.abs(found - template.points).max() < 1e-6
    assert face_scale(matrix) == pytest.approx(scale)


@given(noise=st.integers(0, 2**32 - 1))
def test_fit_is_the_least_squares_similarity(noise: int) -> None:
    rng = np.random.default_rng(noise)
    points = _similar(FFHQ.points, 3.0, 0.2, 50, 80) + rng.normal(0, 9, (5, 2))
    matrix = crop_matrix(points)
    # Umeyama by singular values, the textbook form.
    source, target = points - points.mean(0), FFHQ.points - FFHQ.points.mean(0)
    u, values, vt = np.linalg.svd(target.T @ source)
    sign = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    wanted = u @ sign @ vt * (values * np.diag(sign)).sum() / (source**2).sum()
    assert np.allclose(matrix[:, :2], wanted)
    assert np.allclose(_apply(matrix, points).mean(0), FFHQ.points.mean(0))


def test_fit_never_mirrors() -> None:
    mirrored = FFHQ.points * (-1, 1)
    assert np.linalg.det(crop_matrix(mirrored)[:, :2]) > 0


def test_other_crop_size_keeps_the_pixel_centre_convention() -> None:
    matrix = crop_matrix(FFHQ.points, FFHQ, 128)
    # The crop's corner, not its first pixel's centre, stays where it is.
    assert np.allclose(_apply(matrix, np.array([(-0.5, -0.5)])), -0.5)
    assert np.allclose(_apply(matrix, np.array([(255.5, 255.5)])), 127.5)


@pytest.mark.parametrize(
    "points", [np.zeros((5, 2)), np.zeros((4, 2)), np.full((5, 2), np.nan), np.zeros((5, 3))]
)
def test_impossible_points_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="points"):
        crop_matrix(points)


@settings(max_examples=25)
@given(scale=st.floats(0.3, 5.0), angle=ANGLE, x=st.floats(-50, 300), y=st.floats(-50, 300))
def test_box_holds_every_photo_pixel_of_the_crop(
    scale: float, angle: float, x: float, y: float
) -> None:
    matrix = crop_matrix(_similar(FFHQ.points - 128, scale, angle, x, y))
    grid = np.stack(np.meshgrid(np.arange(300), np.arange(300)), axis=-1).reshape(-1, 2)
    inside = _apply(matrix, grid)
    covered = grid[((inside >= -0.5) & (inside <= 255.5)).all(axis=1)]
    if covered.size == 0:
        return
    box = photo_box(matrix, 256, (300, 300))
    assert 0 <= box.left <= covered[:, 0].min()
    assert 0 <= box.top <= covered[:, 1].min()
    assert covered[:, 0].max() < box.right <= 300
    assert covered[:, 1].max() < box.bottom <= 300


def test_crop_outside_the_photograph_is_refused() -> None:
    with pytest.raises(ShapeError, match="outside the photograph"):
        photo_box(crop_matrix(FFHQ.points + 5000), 256, (300, 300))


def test_box_cuts_a_view_and_embeds_a_mask() -> None:
    photo = np.zeros((10, 12, 3), np.uint8)
    box = Box(2, 3, 5, 9)
    box.cut(photo)[...] = 1
    assert photo[3:9, 2:5].all()
    assert photo.sum() == 6 * 3 * 3
    assert box.shape == (6, 3)
    full = box.embed(np.ones((6, 3), bool), photo.shape)
    assert full.sum() == 18
    assert full[3:9, 2:5].all()


def test_unturned_crop_is_the_photograph_itself() -> None:
    photo = _waves(300, 320)
    matrix = np.array([[1.0, 0, -20], [0, 1, -10]])
    assert np.array_equal(warp_to_crop(photo, matrix, 256), photo[10:266, 20:276])


def test_edge_is_continued_beyond_the_photograph() -> None:
    photo = np.full((100, 100, 3), 90, np.uint8)
    matrix = np.array([[1.0, 0, 60], [0, 1, 60]])
    assert (warp_to_crop(photo, matrix, 256) == 90).all()


@pytest.mark.parametrize("scale", [2.0, 3.3, 7.0])
def test_large_face_is_averaged_not_sampled(scale: float) -> None:
    side = int(256 * scale) + 40
    checker = np.indices((side, side)).sum(axis=0) % 2 * 255
    photo = np.repeat(checker[..., None], 3, axis=2).astype(np.uint8)
    points = _similar(FFHQ.points, scale, 0.1, 20 + 0.1 * side, 10)
    crop = warp_to_crop(photo, crop_matrix(points), 256)
    inner = crop[64:192, 64:192].astype(int)
    assert abs(inner.mean() - 127.5) < 2
    assert inner.std() < 26  # sampling would give 127


@pytest.mark.parametrize("scale", [1.0, 1.7, 2.0, 4.6])
@pytest.mark.parametrize("angle", [0.0, 0.35, -1.2])
def test_to_the_crop_and_back_is_the_photograph(scale: float, angle: float) -> None:
    crop = _waves(256, 256)
    centre = 160 * scale + 30
    matrix = crop_matrix(_similar(FFHQ.points - 128, scale, angle, centre, centre))
    shape = (int(2 * centre), int(2 * centre))
    box = photo_box(matrix, 256, shape)
    photo = np.zeros((*shape, 3), np.uint8)
    box.cut(photo)[...] = image_to_photo(crop, matrix, box)
    back = warp_to_crop(photo, matrix, 256)
    difference = np.abs(back[4:-4, 4:-4].astype(int) - crop[4:-4, 4:-4])
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) < 5


def test_small_face_is_averaged_on_the_way_back() -> None:
    checker = np.indices((256, 256)).sum(axis=0) % 2 * 255
    crop = np.repeat(checker[..., None], 3, axis=2).astype(np.uint8)
    matrix = crop_matrix(_similar(FFHQ.points, 0.25, 0.0, 5, 5))
    box = photo_box(matrix, 256, (80, 80))
    inner = image_to_photo(crop, matrix, box)[10:50, 10:50].astype(int)
    assert abs(inner.mean() - 127.5) < 2
    assert inner.std() < 26


def test_mask_lies_where_the_matrix_says_and_is_zero_outside() -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[100:150, 60:200] = 1
    matrix = crop_matrix(_similar(FFHQ.points, 2.0, 0.3, 120, 20))
    box = photo_box(matrix, 256, (700, 700))
    full = np.zeros((700, 700), np.float32)
    box.cut(full)[...] = mask_to_photo(mask, matrix, box)
    grid = np.stack(np.meshgrid(np.arange(700), np.arange(700)), axis=-1).reshape(-1, 2)
    x, y = _apply(matrix, grid).T
    wanted = (x > 59.5) & (x < 199.5) & (y > 99.5) & (y < 149.5)
    assert ((full.ravel() >= 0.5) != wanted).mean() < 1e-3
    assert full.min() >= 0
    assert full.max() <= 1
    beyond = (x < -1) | (x > 256) | (y < -1) | (y > 256)
    assert not full.ravel()[beyond].any()


def test_float_image_keeps_its_dtype() -> None:
    matrix = crop_matrix(_similar(FFHQ.points, 2.0, 0.0, 0, 0))
    crop = np.full((256, 256, 3), 99.5, np.float32)
    warped = image_to_photo(crop, matrix, Box(50, 50, 90, 80))
    assert warped.dtype == np.float32
    assert np.allclose(warped, 99.5, atol=1e-3)


def test_tensor_spans_minus_one_to_one_and_returns() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image[0, 0] = (0, 128, 255)
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[0, 0, 0, 0] == -1
    assert tensor[0, 2, 0, 0] == 1
    assert np.array_equal(to_image(tensor), image)
    assert np.array_equal(to_image(tensor[0]), image)


def test_overshoot_is_clipped() -> None:
    tensor = np.array([-1.4, 0.0, 1.4], np.float32).reshape(3, 1, 1)
    assert to_image(tensor).ravel().tolist() == [0, 128, 255]
