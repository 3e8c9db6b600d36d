"""The refiner paints skin, so it is let loose on the new face and kept from what is none."""

import numpy as np
import pytest

from vera.contract import CLASSES
from vera.region.replaced import Replacing
from vera.rendering.refine import refined_area

EAR, HAIR = CLASSES.index("ear"), CLASSES.index("hair")
SKIN = CLASSES.index("skin")


@pytest.fixture
def everything() -> np.ndarray:
    return np.ones((256, 256), np.float32)


def test_the_place_of_an_old_ear_is_not_painted(fakes, everything) -> None:
    earless = np.where(fakes.labels == EAR, 0, fakes.labels).astype(np.uint8)
    area = refined_area(everything, fakes.labels, earless)
    assert area[140, 52] == 0
    assert area[fakes.labels == SKIN].min() == 1
    assert area[235, 128] == 1  # below the chin it mends the jaw


def test_a_new_ear_is_painted(fakes, everything) -> None:
    assert refined_area(everything, fakes.labels, fakes.labels)[fakes.labels == EAR].min() == 1


@pytest.mark.parametrize("replacing", [Replacing(hair=True), Replacing(background=True)])
def test_new_hair_and_background_are_not_painted(fakes, everything, replacing) -> None:
    area = refined_area(everything, fakes.labels, fakes.labels, replacing)
    assert area[20, 128] == area[5, 5] == 0
    assert area[fakes.labels == SKIN].min() == 1


def test_the_photograph_is_never_painted(fakes, everything) -> None:
    assert refined_area(0 * everything, fakes.labels, fakes.labels).max() == 0
