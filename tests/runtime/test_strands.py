"""Hair of the photograph stays in front of the new skin; nothing else of the old face does."""

import numpy as np
import pytest

from vera.contract import CLASSES
from vera.pixels.align import Box
from vera.region.replaced import Replacing
from vera.rendering.strands import find_strands, strand_share, stray_hair

SKIN, HAIR = CLASSES.index("skin"), CLASSES.index("hair")
WHOLE = Box(0, 0, 256, 256)
HERE = np.array([[1.0, 0, 0], [0, 1, 0]])


@pytest.fixture
def head() -> tuple[np.ndarray, np.ndarray]:
    """Dark hair above row 80, light skin below, one dark strand down column 128 to row 90."""
    labels = np.full((256, 256), SKIN, np.uint8)
    labels[:80] = HAIR
    image = np.where((labels == HAIR)[..., None], np.uint8(30), np.uint8(200))
    image = np.repeat(image, 3, 2) if image.shape[2] == 1 else image
    image[80:90, 127:130] = 30
    return np.ascontiguousarray(image), labels


def test_a_strand_below_the_hairline_is_kept_and_skin_beside_it_is_not(head) -> None:
    image, labels = head
    share = strand_share(image, find_strands(image, labels), HERE, WHOLE)
    assert share[86, 128] > 0.5
    assert share[86, 160] < 0.05


def test_nothing_is_kept_away_from_the_hairline(head) -> None:
    image, labels = head
    image[150:170, 100:150] = 30  # a dark patch on the cheek is no hair
    share = strand_share(image, find_strands(image, labels), HERE, WHOLE)
    assert share[100:].max() == 0


def test_without_hair_there_are_no_strands(head) -> None:
    image, labels = head
    assert find_strands(image, np.full_like(labels, SKIN)) is None


def test_hair_of_the_colour_of_skin_keeps_only_the_softened_line(head) -> None:
    image, labels = head
    flat = np.full_like(image, 180)
    share = strand_share(flat, find_strands(flat, labels), HERE, WHOLE)
    assert share[86:].max() < 1e-6
    assert 0 < share[80:86].max() < 1


def test_a_part_of_the_photograph_gives_the_same_share(head) -> None:
    image, labels = head
    strands = find_strands(image, labels)
    box = Box(40, 60, 200, 120)
    part = strand_share(box.cut(image), strands, HERE, box)
    whole = box.cut(strand_share(image, strands, HERE, WHOLE))
    assert np.abs(part - whole).max() < 1e-5


def test_specks_of_hair_inside_the_face_bring_nothing_back(head) -> None:
    image, labels = head
    labels[120:126, 100:106] = HAIR
    image[110:135, 95:112] = 40
    share = strand_share(image, find_strands(image, labels), HERE, WHOLE)
    assert share[100:].max() == 0


def test_brows_near_the_hairline_are_not_kept(head) -> None:
    image, labels = head
    brow = (slice(84, 88), slice(100, 120))
    labels[brow], image[brow] = CLASSES.index("brow"), 30
    share = strand_share(image, find_strands(image, labels), HERE, WHOLE)
    assert share[brow].max() < 1e-6


def test_replaced_hair_leaves_no_strands(head) -> None:
    assert find_strands(*head, Replacing(hair=True)) is None


def test_beside_skin_of_another_tone_only_strands_are_kept(head) -> None:
    image, labels = head
    share = strand_share(image, find_strands(image, labels, Replacing(tone=False)), HERE, WHOLE)
    assert share[86, 128] > 0.5
    assert share[80:86, 160].max() < 0.05  # the softened line would show the old skin


def _before_a_wall(pattern: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A dark head before a light wall, one thin strand away from it."""
    labels = np.zeros((256, 256), np.uint8)
    labels[40:200, 80:180] = HAIR
    noise = np.random.default_rng(0).integers(-pattern, pattern + 1, (256, 256, 1))
    image = np.clip(200 + noise.repeat(3, 2), 0, 255).astype(np.uint8)
    image[labels == HAIR] = 30
    image[60:160, 190:192] = 30
    return image, labels


def test_stray_hair_before_an_even_wall_is_found() -> None:
    found = stray_hair(*_before_a_wall(pattern=3))
    assert found[70:150, 190:192].all()
    assert not found[:, 200:].any()


def test_before_a_pattern_nothing_is_taken_for_stray_hair() -> None:
    assert not stray_hair(*_before_a_wall(pattern=60)).any()


def test_without_hair_or_background_there_is_no_stray_hair(head) -> None:
    image, labels = head
    assert not stray_hair(image, labels).any()
    assert not stray_hair(image, np.zeros_like(labels)).any()
