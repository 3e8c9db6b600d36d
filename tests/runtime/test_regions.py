"""Keep requests and masks: what is kept is found, what identifies is replaced."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vera.align import FFHQ, Box, crop_matrix, photo_box
from vera.contract import CLASSES
from vera.errors import RefusedError, UsageError
from vera.keep import REGIONS, Keep
from vera.labels import probabilities, to_labels
from vera.regions import kept_from_file, kept_mask
from vera.replaced import generated_mask, require_face

SCALE = 3.0


def _class(name: str) -> int:
    return CLASSES.index(name)


def _ellipse(labels: np.ndarray, name: str, x: int, y: int, width: int, height: int) -> None:
    cv2.ellipse(labels, (x, y), (width, height), 0, 0, 360, _class(name), -1)


def _labels(*, without: tuple[str, ...] = (), width: int = 62, chin: int = 0) -> np.ndarray:
    """A face on the FFHQ template."""
    labels = np.zeros((256, 256), np.uint8)
    _ellipse(labels, "hair", 128, 110, 88, 92)
    cv2.rectangle(labels, (92, 190), (164, 255), _class("neck"), -1)
    _ellipse(labels, "skin", 128, 146 + chin, width, 80)
    for side, x in ((-1, 96), (1, 160)):
        _ellipse(labels, "ear", 128 + side * (width + 5), 140, 8, 18)
        _ellipse(labels, "eye", x, 120, 12, 5)
        _ellipse(labels, "brow", x, 104, 16, 3)
    _ellipse(labels, "nose", 128, 145, 13, 20)
    _ellipse(labels, "mouth", 128, 186, 28, 10)
    for name in without:
        labels[labels == _class(name)] = _class("skin")
    return labels


def _shares(labels: np.ndarray) -> np.ndarray:
    """Class probabilities as a parser gives them: sure inside, unsure at borders."""
    hot = np.stack([labels == k for k in range(len(CLASSES))]).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in hot])
    return (soft / soft.sum(axis=0)).astype(np.float32)


@pytest.fixture(name="place")
def _place() -> tuple[np.ndarray, Box]:
    matrix = crop_matrix(FFHQ.points * SCALE + (40, 60))
    return matrix, photo_box(matrix, 256, (900, 860))


def _at_photo_scale(mask: np.ndarray, matrix: np.ndarray, box: Box) -> np.ndarray:
    y, x = np.mgrid[box.top : box.bottom, box.left : box.right]
    crop_x, crop_y = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in (0, 1))
    columns, rows = crop_x.round().astype(int), crop_y.round().astype(int)
    known = (columns >= 0) & (columns < 256) & (rows >= 0) & (rows < 256)
    return known & mask[rows.clip(0, 255), columns.clip(0, 255)]


# --- what the user may ask


@pytest.mark.parametrize(
    ("text", "regions", "name"),
    [
        ("none", (), "none"),
        ("mouth", ("mouth",), "mouth"),
        (" Mouth ", ("mouth",), "mouth"),
        ("nose,mouth,nose", ("mouth", "nose"), "mouth,nose"),
        ("eyes", ("eyes",), "eyes"),
        ("eyes+brows", ("eyes", "brows"), "eyes,brows"),
        ("eyes,brows", ("eyes", "brows"), "eyes,brows"),
    ],
)
def test_regions_are_understood(text: str, regions: tuple[str, ...], name: str) -> None:
    keep = Keep.parse(text)
    assert keep.regions == regions
    assert keep.name == name
    assert keep.mask is None
    assert keep.nothing == (not regions)


def test_eyes_are_kept_with_glasses_but_without_brows() -> None:
    assert Keep.parse("eyes").classes == (_class("eye"), _class("glasses"))
    assert _class("brow") in Keep.parse("eyes,brows").classes


def test_existing_file_is_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.touch()
    keep = Keep.parse(str(path))
    assert keep.mask == path
    assert keep.name == "mask"
    assert not keep.nothing
    assert keep.classes == ()


@pytest.mark.parametrize("text", ["lips", "mouth,chin", "", ",", "none,mouth", "absent.png"])
def test_anything_else_is_refused_with_the_names(text: str) -> None:
    with pytest.raises(UsageError, match="use none, mouth, nose, eyes, brows"):
        Keep.parse(text)


# --- part maps


def test_probabilities_sum_to_one_and_keep_the_winner() -> None:
    logits = np.random.default_rng(0).normal(0, 40, (13, 32, 32)).astype(np.float32)
    shares = probabilities(logits, 32)
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(to_labels(shares), logits.argmax(axis=0))
    larger = probabilities(logits[None], 64)
    assert larger.shape == (13, 64, 64)
    assert np.allclose(larger.sum(axis=0), 1, atol=1e-5)


# --- the kept region


@pytest.mark.parametrize("name", list(REGIONS))
def test_kept_region_covers_its_class_and_little_else(
    place: tuple[np.ndarray, Box], name: str
) -> None:
    matrix, box = place
    labels = _labels()
    kept = kept_mask(_shares(labels), Keep.parse(name), matrix, box)
    wanted = _at_photo_scale(labels == REGIONS[name][0], matrix, box)
    assert kept.shape == box.shape
    assert kept.dtype == np.bool_
    assert (kept & wanted).sum() / wanted.sum() > 0.99
    around = cv2.dilate(wanted.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)
    assert not (kept & ~around).any()


def test_none_keeps_nothing(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    assert not kept_mask(_shares(_labels()), Keep.parse("none"), matrix, box).any()


def test_edge_of_the_kept_region_is_smooth_at_the_photographs_resolution(
    place: tuple[np.ndarray, Box],
) -> None:
    matrix, box = place
    kept = kept_mask(_shares(_labels()), Keep.parse("mouth"), matrix, box)
    contours, _ = cv2.findContours(kept.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    (outline,) = contours
    ellipse = cv2.fitEllipse(outline)
    drawn = cv2.ellipse(np.zeros(kept.shape, np.uint8), ellipse, 1, -1).astype(bool)
    assert (drawn ^ kept).sum() / kept.sum() < 0.03


def test_specks_and_holes_of_the_parser_do_not_count(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    labels = _labels()
    clean = kept_mask(_shares(labels), Keep.parse("mouth"), matrix, box)
    labels[60:64, 60:64] = _class("mouth")
    labels[185:188, 126:130] = _class("skin")
    noisy = kept_mask(_shares(labels), Keep.parse("mouth"), matrix, box)
    assert (noisy ^ clean).sum() / clean.sum() < 0.02


@pytest.mark.parametrize(
    ("name", "missing"), [("mouth", "mouth"), ("eyes", "eye"), ("mouth,nose", "nose")]
)
def test_region_that_is_not_there_is_refused(
    place: tuple[np.ndarray, Box], name: str, missing: str
) -> None:
    with pytest.raises(RefusedError, match="was not found in the face") as refusal:
        kept_mask(_shares(_labels(without=(missing,))), Keep.parse(name), *place)
    assert refusal.value.reason == "region-not-found"


def test_eyes_behind_sunglasses_are_not_found(place: tuple[np.ndarray, Box]) -> None:
    labels = _labels()
    cv2.rectangle(labels, (78, 108), (178, 134), _class("glasses"), -1)
    with pytest.raises(RefusedError, match="eyes"):
        kept_mask(_shares(labels), Keep.parse("eyes"), *place)


def test_glasses_in_front_of_the_eyes_are_kept_with_them(place: tuple[np.ndarray, Box]) -> None:
    labels = _labels()
    frame = np.zeros_like(labels)
    for x in (96, 160):
        cv2.ellipse(frame, (x, 120), (24, 16), 0, 0, 360, 1, 3)
    labels[(frame > 0) & (labels == _class("skin"))] = _class("glasses")
    kept = kept_mask(_shares(labels), Keep.parse("eyes"), *place)
    wanted = _at_photo_scale(labels == _class("glasses"), *place)
    assert (kept & wanted).sum() / wanted.sum() > 0.95


def test_all_regions_together_still_leave_a_face_to_replace(place: tuple[np.ndarray, Box]) -> None:
    kept = kept_mask(_shares(_labels()), Keep.parse("mouth,nose,eyes,brows"), *place)
    assert kept.any()


# --- a user's own mask


def test_mask_file_is_cut_to_the_face(place: tuple[np.ndarray, Box]) -> None:
    matrix, box = place
    mask = np.zeros((900, 860), bool)
    mask[500:560, 350:420] = True
    kept = kept_from_file(mask, _shares(_labels()), matrix, box)
    assert np.array_equal(kept, box.cut(mask))
    kept[...] = True
    assert mask.sum() == 60 * 70  # a copy


def test_mask_beside_the_face_is_refused(place: tuple[np.ndarray, Box]) -> None:
    mask = np.zeros((900, 860), bool)
    mask[:20, :20] = True
    with pytest.raises(RefusedError, match="does not touch the face") as refusal:
        kept_from_file(mask, _shares(_labels()), *place)
    assert refusal.value.reason == "region-not-found"


def test_mask_over_most_of_the_face_is_refused(place: tuple[np.ndarray, Box]) -> None:
    with pytest.raises(RefusedError, match=r"covers 100% of the face") as refusal:
        kept_from_file(np.ones((900, 860), bool), _shares(_labels()), *place)
    assert refusal.value.reason == "nothing-to-anonymise"


# --- what is replaced


def test_all_that_identifies_is_replaced_whatever_is_generated() -> None:
    original = _labels()
    mask = generated_mask(original, _labels(width=50, chin=-8)) >= 0.5
    for name in ("skin", "eye", "brow", "mouth", "nose", "ear"):
        assert mask[original == _class(name)].mean() > 0.995


def test_wider_generated_face_wins_over_background_and_neck() -> None:
    original = _labels()
    original[(original == _class("hair")) & (np.arange(256)[:, None] > 120)] = 0
    generated = _labels(width=70, chin=6)
    mask = generated_mask(original, generated) >= 0.5
    new = np.isin(generated, [_class("skin"), _class("ear")])
    scenery = np.isin(original, [_class("background"), _class("neck")])
    assert mask[new & scenery].mean() > 0.98


def test_hair_of_the_photograph_stays_in_front() -> None:
    original = _labels()
    original[75:110, 118:124] = _class("hair")  # a fringe that hangs from the hairline
    original[60:76, 70:180] = _class("hair")
    generated = _labels()
    mask = generated_mask(original, generated) >= 0.5
    inner = cv2.erode((original == _class("hair")).astype(np.uint8), np.ones((3, 3), np.uint8))
    assert mask[inner > 0].mean() < 0.02


def test_rim_around_the_face_is_replaced_too() -> None:
    original = _labels()
    original[original == _class("hair")] = 0
    mask = generated_mask(original, original) >= 0.5
    face = np.isin(original, [_class(n) for n in ("skin", "eye", "brow", "mouth", "nose", "ear")])
    rim = cv2.dilate(face.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert mask[rim].mean() > 0.995


def test_background_and_clothes_stay() -> None:
    original = _labels()
    mask = generated_mask(original, original) >= 0.5
    far = cv2.dilate((original != 0).astype(np.uint8), np.ones((13, 13), np.uint8)) == 0
    assert not mask[far].any()


def test_neighbours_face_in_the_crop_is_left_alone() -> None:
    original = _labels()
    cv2.ellipse(original, (10, 20), (9, 14), 0, 0, 360, _class("skin"), -1)
    assert not (generated_mask(original, _labels())[:34, :20] >= 0.5).any()


def test_hole_of_the_parser_in_the_face_is_replaced() -> None:
    original = _labels()
    original[160:168, 150:160] = 0
    assert (generated_mask(original, _labels())[160:168, 150:160] >= 0.5).all()


def test_rim_of_the_crop_is_never_replaced() -> None:
    everything = np.full((256, 256), _class("skin"), np.uint8)
    mask = generated_mask(everything, everything)
    assert mask.dtype == np.float32
    assert mask[0].max() < 0.5
    assert mask[:, -1].max() < 0.5
    assert mask[128, 128] == 1


def test_part_map_without_a_face_is_refused() -> None:
    nobody = np.full((256, 256), _class("hair"), np.uint8)
    nobody[120:130, 90:100] = _class("skin")
    for refusing in (lambda: require_face(nobody), lambda: generated_mask(nobody, _labels())):
        with pytest.raises(RefusedError, match="could not be told apart") as refusal:
            refusing()
        assert refusal.value.reason == "face-unclear"
