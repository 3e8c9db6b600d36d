"""Blending keeps its promises: exact outside, seamless inside, equal to a sparse direct solve."""

import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from vera.errors import ShapeError
from vera.ops.blend import blend, poisson_correction
from vera.ops.colour_match import colour_match

Image = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


def pictures(height: int, width: int) -> tuple[Image, Image]:
    """A generated image and a photograph that differ in tone, waves and noise."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    photo = [128 + 80 * np.sin(x / 37 + c) + 30 * np.cos(y / 11 * (c + 1)) for c in range(3)]
    generated = [120 + 60 * np.cos(x / 23 - c) * np.sin(y / 50) + x * 60 / width for c in range(3)]
    noise = rng.normal(0, 15, (2, height, width, 3))
    first, second = (
        np.clip(np.stack(image, -1) + n, 0, 255).astype(np.uint8)
        for image, n in zip((generated, photo), noise, strict=True)
    )
    return first, second


def ellipse(height: int, width: int, cy: float, cx: float, ry: float, rx: float) -> Bool:
    y, x = np.mgrid[:height, :width]
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1


def _masks() -> dict[str, Bool]:
    whole = ellipse(160, 210, 80, 105, 74, 99)
    concave = whole.copy()
    concave[:100, 75:130] = False
    holes = whole.copy()
    for cy, cx, r in ((50, 75, 10), (50, 130, 17), (110, 100, 21)):
        holes &= ~ellipse(160, 210, cy, cx, r / 2, r)
    corner = np.zeros((151, 203), bool)
    corner[:100, :167] = True
    walls = np.ones((128, 128), bool)
    walls[4:125, 50] = walls[::4, 80] = False
    mouth = ellipse(300, 300, 150, 150, 140, 140)
    mouth[147:153, 60:240] = False  # V-cycles diverge on long slits in a large region
    return {
        "ellipse": whole,
        "slit": mouth,
        "concave": concave,
        "holes": holes,
        "corner": corner,
        "one side fixed": np.arange(120)[:, np.newaxis] * np.ones(90) > 0,
        "noise": np.random.default_rng(0).random((120, 130)) < 0.8,
        "walls": walls,
        "one row": np.eye(1, 40, 17, dtype=bool).T * np.ones(50, bool),
    }


MASKS = _masks()


def direct_solve(
    generated: Image, photo: Image, mask: Bool, screening: float | npt.NDArray[np.float32] = 0.0
) -> npt.NDArray[np.float64]:
    """The correction by sparse LU in float64, straight from the definition."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    number = np.full(mask.shape, -1)
    number[ys, xs] = np.arange(ys.size)
    difference = photo.astype(float) - generated
    diagonal = np.broadcast_to(np.asarray(screening, float), mask.shape)[ys, xs].copy()
    right = np.zeros((ys.size, 3))
    rows, columns = [], []
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        y, x = ys + dy, xs + dx
        exists = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        diagonal += exists
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        inner = exists & (number[y, x] >= 0)
        fixed = exists & ~inner
        rows.append(np.flatnonzero(inner))
        columns.append(number[y, x][inner])
        right[fixed] += difference[y, x][fixed]
    at = (np.concatenate(rows), np.concatenate(columns))
    matrix = sparse.diags(diagonal) - sparse.csr_matrix((np.ones(at[0].size), at), (ys.size,) * 2)
    solution = np.zeros((height, width, 3))
    options = {"SymmetricMode": True}
    solution[ys, xs] = splu(matrix.tocsc(), "MMD_AT_PLUS_A", options=options).solve(right)
    return solution


@pytest.mark.parametrize("screening", [0.0, 0.01])
@pytest.mark.parametrize("name", MASKS)
def test_poisson_agrees_with_a_sparse_direct_solve(name: str, screening: float) -> None:
    mask = MASKS[name]
    generated, photo = pictures(*mask.shape)
    expected = direct_solve(generated, photo, mask, screening)
    correction, estimate = poisson_correction(generated, photo, mask, screening=screening)
    assert np.abs(correction - expected).max() <= 0.25
    assert estimate <= 0.1
    exact = np.clip(generated + expected, 0, 255)
    blended = blend(generated, photo, mask, screening=screening)
    assert np.abs(blended[mask] - exact[mask]).max() <= 0.75  # 0.25 and rounding


def test_poisson_takes_screening_per_pixel() -> None:
    mask = MASKS["holes"]
    generated, photo = pictures(*mask.shape)
    screening = np.random.default_rng(3).random(mask.shape).astype(np.float32) ** 4
    correction, _ = poisson_correction(generated, photo, mask, screening=screening)
    assert np.abs(correction - direct_solve(generated, photo, mask, screening)).max() <= 0.25


@pytest.mark.parametrize("method", ["poisson", "multiband"])
@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_outside_the_mask_is_the_photo_bit_for_bit(name: str, method: str, matched: bool) -> None:
    mask = MASKS[name]
    generated, photo = pictures(*mask.shape)
    blended = blend(generated, photo, mask, method=method, colour_match=matched)
    assert np.array_equal(blended[~mask], photo[~mask])
    if method == "poisson":  # a narrow mask has no pixel beyond the band of the other method
        assert not np.array_equal(blended[mask], photo[mask])


@pytest.mark.parametrize("method", ["poisson", "multiband"])
@pytest.mark.parametrize("matched", [False, True])
def test_blending_an_image_into_itself_changes_nothing(method: str, matched: bool) -> None:
    mask = MASKS["holes"]
    _, photo = pictures(*mask.shape)
    assert np.array_equal(blend(photo, photo, mask, method=method, colour_match=matched), photo)


def test_poisson_removes_a_constant_offset() -> None:
    mask = MASKS["concave"]
    _, photo = pictures(*mask.shape)
    photo = photo // 2 + 60
    shifted = photo + np.array([17, -23, 40], np.int16)
    assert np.array_equal(blend(shifted.astype(np.uint8), photo, mask), photo)


def test_poisson_is_linear_in_its_images() -> None:
    mask = MASKS["ellipse"]
    generated, photo = (image.astype(np.float32) for image in pictures(*mask.shape))
    half = (photo // 2).astype(np.uint8)
    whole, _ = poisson_correction(generated, photo.astype(np.uint8), mask, tolerance=1e-3)
    first, _ = poisson_correction(generated / 2, half, mask, tolerance=1e-3)
    rest = (photo.astype(np.uint8) - half).astype(np.uint8)
    second, _ = poisson_correction(generated / 2, rest, mask, tolerance=1e-3)
    assert np.abs(whole - first - second).max() < 0.02


@pytest.mark.parametrize("screening", [0.0, 0.05])
def test_the_correction_obeys_the_maximum_principle(screening: float) -> None:
    mask = MASKS["holes"]
    generated, photo = pictures(*mask.shape)
    correction, error = poisson_correction(generated, photo, mask, screening=screening)
    outside = (photo.astype(float) - generated)[~mask]
    assert (correction[mask] <= np.maximum(outside.max(axis=0), 0) + error).all()
    assert (correction[mask] >= np.minimum(outside.min(axis=0), 0) - error).all()


def test_screening_keeps_the_generated_tone_deep_inside() -> None:
    mask = ellipse(160, 210, 80, 105, 74, 99)
    generated = np.full((160, 210, 3), 90, np.uint8)
    photo = np.full((160, 210, 3), 160, np.uint8)
    blended = blend(generated, photo, mask, screening=0.04)
    assert (blended[80, 105] == 90).all()
    assert (blended[mask].max(axis=0) > 140).all()


def test_a_mask_over_the_whole_photo_gives_the_generated_image() -> None:
    generated, photo = pictures(60, 50)
    assert np.array_equal(blend(generated, photo, np.ones((60, 50), bool)), generated)


@pytest.mark.parametrize("method", ["poisson", "multiband"])
def test_an_empty_mask_gives_a_copy_of_the_photo(method: str) -> None:
    generated, photo = pictures(60, 50)
    result = blend(generated, photo, np.zeros((60, 50), bool), method=method)
    assert np.array_equal(result, photo)
    assert not np.shares_memory(result, photo)


def test_a_single_pixel_takes_the_mean_difference_of_its_neighbours() -> None:
    generated, photo = pictures(9, 9)
    for y, x, neighbours in (
        (4, 4, [(3, 4), (5, 4), (4, 3), (4, 5)]),
        (0, 0, [(0, 1), (1, 0)]),
        (8, 8, [(7, 8), (8, 7)]),
    ):
        mask = np.zeros((9, 9), bool)
        mask[y, x] = True
        difference = photo.astype(float) - generated
        expected = generated[y, x] + np.mean([difference[n] for n in neighbours], axis=0)
        blended = blend(generated, photo, mask)
        assert np.abs(blended[y, x] - np.clip(expected, 0, 255)).max() <= 0.51


def test_invalid_pixels_give_no_boundary_value() -> None:
    mask = MASKS["ellipse"]
    generated, photo = pictures(*mask.shape)
    valid = np.ones(mask.shape, bool)
    valid[:, :60] = False
    spoilt = generated.copy()
    spoilt[~valid & ~mask] = 255
    assert np.array_equal(
        blend(spoilt, photo, mask, valid=valid, colour_match=True),
        blend(generated, photo, mask, valid=valid, colour_match=True),
    )


@pytest.mark.parametrize("method", ["poisson", "multiband"])
@pytest.mark.parametrize("matched", [False, True])
def test_a_box_gives_the_same_as_the_full_size(method: str, matched: bool) -> None:
    generated, photo = pictures(200, 300)
    mask = ellipse(200, 300, 90, 140, 50, 61)
    box = (50, 15, 240, 180)
    part = (slice(box[1], box[3]), slice(box[0], box[2]))
    screening = np.full(mask.shape, 0.001, np.float32)
    full = blend(generated, photo, mask, method=method, colour_match=matched, screening=screening)
    boxed = blend(
        generated[part],
        photo,
        mask[part],
        method=method,
        colour_match=matched,
        screening=screening[part],
        box=box,
    )
    assert np.array_equal(full, boxed)


def test_float_and_byte_images_agree() -> None:
    mask = MASKS["concave"]
    generated, photo = pictures(*mask.shape)
    expected = blend(generated, photo, mask)
    assert np.array_equal(blend(generated.astype(np.float32), photo, mask), expected)
    assert np.array_equal(blend(generated, photo, mask.astype(np.float32)), expected)
    assert np.array_equal(blend(generated, photo, mask.astype(np.uint8) * 255), expected)


@pytest.mark.parametrize("method", ["poisson", "multiband"])
def test_arrays_of_the_caller_stay_as_they_were(method: str) -> None:
    mask = MASKS["holes"]
    generated, photo = pictures(*mask.shape)
    arrays = (generated, photo, mask.astype(np.uint8) * 255, mask.astype(np.uint8))
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    blend(*arrays[:3], method=method, colour_match=True, valid=arrays[3])
    for array, copy in zip(arrays, before, strict=True):
        assert np.array_equal(array, copy)


@pytest.mark.parametrize("method", ["poisson", "multiband"])
def test_out_may_be_another_array_or_the_photo_itself(method: str) -> None:
    mask = MASKS["holes"]
    generated, photo = pictures(*mask.shape)
    expected = blend(generated, photo, mask, method=method)
    other = np.empty_like(photo)
    assert blend(generated, photo, mask, method=method, out=other) is other
    assert np.array_equal(other, expected)
    blend(generated, photo, mask, method=method, out=photo)
    assert np.array_equal(photo, expected)


_DIGEST = """
import hashlib, numpy as np
from vera.ops.blend import blend
y, x = np.mgrid[:300, :420]
rng = np.random.default_rng(5)
generated, photo = rng.integers(0, 256, (2, 300, 420, 3), np.uint8)
mask = ((x - 200) / 190.0) ** 2 + ((y - 150) / 140.0) ** 2 <= 1
for method in ("poisson", "multiband"):
    result = blend(generated, photo, mask, method=method, colour_match=True)
    print(hashlib.sha256(result.tobytes()).hexdigest())
"""


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(digests) == 1


def test_multiband_is_the_generated_image_beyond_its_band() -> None:
    from scipy.ndimage import distance_transform_edt

    mask = MASKS["ellipse"]
    generated, photo = pictures(*mask.shape)
    blended = blend(generated, photo, mask, method="multiband", band_px=20)
    distance = distance_transform_edt(mask)
    assert np.array_equal(blended[distance > 20.01], generated[distance > 20.01])
    band = mask & (distance < 20)
    assert not np.array_equal(blended[band], generated[band])


def test_multiband_reproduces_its_inputs_for_an_empty_and_a_full_mask() -> None:
    generated, photo = pictures(90, 75)
    full = np.ones((90, 75), bool)
    assert np.array_equal(blend(generated, photo, full, method="multiband"), generated)
    assert np.array_equal(blend(generated, photo, ~full, method="multiband"), photo)


def test_multiband_crosses_from_one_tone_to_the_other_without_a_step() -> None:
    generated = np.full((120, 160, 3), 200, np.uint8)
    photo = np.full((120, 160, 3), 80, np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[:, 40:] = True
    row = blend(generated, photo, mask, method="multiband", band_px=32)[60, :, 0].astype(int)
    assert row[39] == 80
    assert row[75] == 200
    assert np.abs(np.diff(row)).max() <= 20  # 120 levels over 32 pixels, steepest in the middle


def test_colour_match_recovers_a_known_gain_and_offset() -> None:
    _, photo = pictures(120, 160)
    mask = ellipse(120, 160, 60, 80, 30, 40)
    offset = np.array([9.0, -14.0, 4.0], np.float32)
    generated = ((photo - offset) / 1.25).astype(np.float32)
    matched = colour_match(generated, photo, mask, ring_px=12)
    assert np.abs(matched - photo).max() < 1e-2


def test_colour_match_measures_in_the_ring_only() -> None:
    generated, photo = pictures(120, 160)
    mask = ellipse(120, 160, 60, 80, 30, 40)
    near = ellipse(120, 160, 60, 80, 50, 60)
    spoilt = generated.copy()
    spoilt[~near] = 255
    spoilt[mask] = 0
    expected = colour_match(generated, photo, mask, ring_px=8)
    changed = colour_match(spoilt, photo, mask, ring_px=8)
    ring = near & ~mask
    assert np.array_equal(changed[ring], expected[ring])


def test_colour_match_without_a_ring_is_the_generated_image() -> None:
    generated, photo = pictures(30, 40)
    for mask in (np.zeros((30, 40), bool), np.ones((30, 40), bool)):
        assert np.array_equal(colour_match(generated, photo, mask), generated)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"photo": np.zeros((20, 30), np.uint8)}, r"`photo` must be uint8 \[h, w, 3\]"),
        ({"generated": np.zeros((20, 31, 3), np.uint8)}, r"`generated` must be uint8 or float32"),
        ({"generated": np.zeros((20, 30, 3))}, r"`generated` must be uint8 or float32"),
        ({"mask": np.ones((20, 29), bool)}, r"`mask` must be \[20, 30\]"),
        ({"mask": np.ones((20, 30), np.int64)}, r"A mask must be bool"),
        ({"valid": np.ones((2, 3), bool)}, r"`valid` must be \[20, 30\]"),
        ({"screening": -1.0}, r"`screening` must be finite and at least 0"),
        ({"screening": float("nan")}, r"`screening` must be finite"),
        ({"screening": np.zeros((3, 3), np.float32)}, r"`screening` must be a number or"),
        ({"method": "alpha"}, r'`method` must be "poisson" or "multiband"'),
        ({"method": "multiband", "band_px": 1}, r"`band_px` must be at least 4"),
        ({"method": "multiband", "bands": 0}, r"`bands` must be at least 1"),
        ({"colour_match": True, "ring_px": 0}, r"`ring_px` must be at least 1"),
        ({"out": np.zeros((20, 30), np.uint8)}, r"`out` must be C-contiguous"),
        ({"box": (0, 0, 99, 9)}, r"`box` must be"),
    ],
)
def test_wrong_arguments_get_a_sentence(change: dict[str, object], sentence: str) -> None:
    arguments: dict[str, object] = {
        "generated": np.zeros((20, 30, 3), np.uint8),
        "photo": np.zeros((20, 30, 3), np.uint8),
        "mask": np.ones((20, 30), bool),
    }
    with pytest.raises(ShapeError, match=sentence):
        blend(**(arguments | change))  # type: ignore[arg-type]


def test_a_box_without_a_margin_gets_a_sentence() -> None:
    generated, photo = pictures(40, 40)
    mask = np.ones((20, 20), bool)
    with pytest.raises(ShapeError, match="touches the left side of `box`"):
        blend(generated[10:30, 10:30], photo, mask, box=(10, 10, 30, 30))
