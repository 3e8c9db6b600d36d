"""What a mode replaces: hair, neck and background go or stay as asked, and leave no rim."""

import cv2
import numpy as np
import pytest

from vera.contract import CLASSES, LATENT_ROWS, shape_row, texture_row
from vera.identity.redraw import replaced_rows
from vera.region.replaced import REPLACED, Replacing, generated_mask, kept_hair
from vera.rendering.border import border_share, hair_cut, left_beyond
from vera.settings import PRESERVABLE, Settings

SKIN, EAR, HAIR, NECK, CLOTH, HAT = (
    CLASSES.index(name) for name in ("skin", "ear", "hair", "neck", "cloth", "hat")
)
INSIDE = np.array([[1.0, 0, -100], [0, 1, -100]])  # a crop of a photograph of 500 x 500
PHOTO = (500, 500, 3)
MODES = (
    Replacing(),
    Replacing(hair=True),
    Replacing(tone=False),
    Replacing(hair=True, tone=False),
    Replacing(background=True, whole=True),
    Replacing(hair=True, background=True, whole=True),
)


def _changed(labels: np.ndarray, name: int, *, drawn: tuple) -> np.ndarray:
    changed = labels.copy()
    cv2.rectangle(changed, *drawn, name, -1)
    return changed


def _near(mask: np.ndarray, reach: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2)) > 0


@pytest.fixture
def labels(fakes) -> np.ndarray:
    return fakes.labels


def _rows(replacing: Replacing) -> list[int]:
    """Latent rows that are redrawn beside those of the face."""
    return replaced_rows((), replacing.parts, ())


def test_settings_say_what_is_replaced() -> None:
    assert Replacing.of(Settings()) == Replacing()
    wanted = Settings(
        frame="crop", hair="regenerate", background="regenerate", preserve=PRESERVABLE[:2]
    )
    assert Replacing.of(wanted) == Replacing(hair=True, background=True, tone=False, whole=True)
    assert not Replacing.of(Settings(background="blur")).background


@pytest.mark.parametrize("replacing", MODES)
def test_rows_are_distinct_and_none_of_the_face_or_the_high_level_codes(replacing) -> None:
    rows = _rows(replacing)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(2, LATENT_ROWS - 4))
    assert shape_row(SKIN) not in rows


def test_new_hair_takes_its_codes_and_a_new_tone_those_of_the_neck() -> None:
    assert _rows(Replacing()) == []
    assert _rows(Replacing(hair=True)) == [shape_row(HAIR), texture_row(HAIR)]
    assert _rows(Replacing(tone=False)) == [texture_row(NECK)]


@pytest.mark.parametrize("replacing", MODES)
def test_the_face_is_replaced_in_every_mode(labels, replacing) -> None:
    mask = generated_mask(labels, labels, replacing)
    assert mask.dtype == np.float32
    assert mask[labels == SKIN].min() >= 0.5


def test_kept_hair_stays_and_new_hair_replaces_all_of_it(labels) -> None:
    hair = cv2.erode((labels == HAIR).astype(np.uint8), np.ones((9, 9))) > 0
    assert generated_mask(labels, labels)[hair].max() < 0.5
    replaced = generated_mask(labels, labels, Replacing(hair=True)) >= 0.5
    around = cv2.dilate((labels == HAIR).astype(np.uint8), np.ones((5, 5))) > 0
    around[:2] = False  # the crop's rim is never replaced in place
    assert replaced[around & (labels != NECK) & (labels != CLOTH)].all()


def test_longer_new_hair_lies_over_the_cloth(labels) -> None:
    longer = _changed(labels, HAIR, drawn=((40, 110), (66, 250)))
    replaced = generated_mask(labels, longer, Replacing(hair=True)) >= 0.5
    assert replaced[110:250, 42:64].all()
    assert not (generated_mask(labels, longer) >= 0.5)[230:250, 42:64].any()


def test_a_hat_stays_when_hair_is_replaced(labels) -> None:
    hat = _changed(labels, HAT, drawn=((60, 5), (196, 45)))
    replaced = generated_mask(hat, labels, Replacing(hair=True)) >= 0.5
    assert not replaced[12:38, 70:186].any()


def test_the_neck_goes_with_the_tone_only(labels) -> None:
    neck = cv2.erode((labels == NECK).astype(np.uint8), np.ones((9, 9))) > 0
    neck[246:] = False
    assert generated_mask(labels, labels)[neck].max() < 0.5
    assert generated_mask(labels, labels, Replacing(tone=False))[neck].min() >= 0.5


def test_a_new_background_leaves_nothing_but_kept_hair(labels) -> None:
    everything = Replacing(hair=True, background=True, whole=True)
    assert generated_mask(labels, labels, everything).min() == 1
    with_hair = Replacing(background=True, whole=True)
    stays = generated_mask(labels, labels, with_hair) < 0.5
    assert stays.any()
    assert (labels[stays] == HAIR).all()
    to_background = cv2.distanceTransform((labels != 0).astype(np.uint8), cv2.DIST_L2, 5)
    assert to_background[kept_hair(labels, with_hair)].min() > 4


def test_a_thin_line_of_hair_at_the_ear_is_no_hair(labels) -> None:
    bald = np.where(labels == HAIR, 0, labels).astype(np.uint8)
    rim = _near(bald == EAR, 1) & (bald == 0)
    odd = bald.copy()
    odd[rim] = HAIR
    assert rim.sum() > 100
    assert generated_mask(odd, bald)[rim].min() >= 0.5


def test_in_place_the_crops_rim_stays_and_a_whole_crop_goes_to_its_rim(labels) -> None:
    tall = _changed(labels, HAIR, drawn=((100, 0), (150, 20)))
    in_place = generated_mask(tall, tall, Replacing(hair=True)) >= 0.5
    assert not in_place[:2].any()
    whole = generated_mask(tall, tall, Replacing(hair=True, whole=True)) >= 0.5
    assert whole[0, 100:150].all()


def test_only_what_goes_on_beyond_the_crop_is_faded(labels) -> None:
    assert border_share(labels, Replacing(), INSIDE, PHOTO) is None
    assert border_share(labels, Replacing(hair=True, whole=True), INSIDE, PHOTO) is None
    share = border_share(labels, Replacing(hair=True), INSIDE, PHOTO)
    assert share[0, 10] == share[128, 255] == 0
    assert share[40, 40] == 1
    flush = np.array([[1.0, 0, 0], [0, 1, -100]])  # the photograph ends with the crop's left side
    assert border_share(labels, Replacing(hair=True), flush, PHOTO)[40, 0] == 1


def test_the_old_face_is_never_faded(labels) -> None:
    low = np.roll(labels, 30, axis=0)
    low[:30] = 0
    share = border_share(low, Replacing(hair=True), INSIDE, PHOTO)
    assert share[low == SKIN].min() > 0.95


def test_kept_hair_before_a_new_background_is_faded_at_its_rim(labels) -> None:
    replacing = Replacing(background=True, whole=True)
    share = border_share(labels, replacing, INSIDE, PHOTO)
    assert share[kept_hair(labels, replacing) & ~_near(np.isin(labels, REPLACED), 8)].max() == 0
    assert share[labels == 0].min() > 0.9


def test_the_report_is_told_what_stays_beyond_the_crop(labels) -> None:
    tall = _changed(labels, HAIR, drawn=((100, 0), (150, 20)))
    inner = np.where((np.arange(256) < 8)[:, None], 0, labels).astype(np.uint8)
    hair = Replacing(hair=True)
    assert any("Hair" in line for line in left_beyond(tall, hair, INSIDE, PHOTO))
    assert not left_beyond(inner, hair, INSIDE, PHOTO)
    assert not left_beyond(tall, Replacing(), INSIDE, PHOTO)
    assert not left_beyond(tall, Replacing(hair=True, whole=True), INSIDE, PHOTO)
    long_neck = _changed(labels, NECK, drawn=((100, 240), (156, 255)))
    assert any("neck" in line for line in left_beyond(long_neck, MODES[2], INSIDE, PHOTO))
    hat = _changed(labels, HAT, drawn=((60, 10), (196, 45)))
    assert any("hat" in line for line in left_beyond(hat, hair, INSIDE, PHOTO))


def test_generated_hair_that_would_end_at_the_side_is_seen(labels) -> None:
    assert hair_cut(_changed(labels, HAIR, drawn=((40, 110), (66, 255))))
    assert not hair_cut(np.where((np.arange(256) < 8)[:, None], 0, labels).astype(np.uint8))
