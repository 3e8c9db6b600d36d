"""The controls of a case: what makes no sense is said before anything is read."""

from dataclasses import asdict

import pytest

from vera.case.case import open_case
from vera.errors import UsageError
from vera.settings import PRESERVABLE, Settings


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"faces": "some"}, "faces must be"),
        ({"frame": "square"}, "frame must be"),
        ({"background": "black"}, "background must be"),
        ({"background": "regenerate"}, "needs frame 'crop'"),
        ({"hair": "shave"}, "hair must be"),
        ({"method": "magic"}, "method must be"),
        ({"preserve": ("smile",)}, "preserve takes"),
        ({"keep_margin": "3"}, "is no margin"),
        ({"pixel_limit": 0}, "pixel_limit must be"),
        ({"steps": -1}, "steps must be"),
        ({"variants": 0}, "variants must be"),
        ({"separation": 1.5}, "separation is a cosine"),
        ({"separation": float("nan")}, "separation is a cosine"),
    ],
)
def test_nonsense_is_one_sentence(changes, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        Settings(**changes)
    assert str(caught.value).endswith(".")


def test_order_of_what_is_preserved_does_not_matter():
    assert Settings(preserve=("skin-tone", "age")) == Settings(preserve=("age", "skin-tone", "age"))
    assert Settings().preserve == PRESERVABLE


def test_settings_are_told_by_name():
    assert Settings(variants=3).options() == asdict(Settings(variants=3))


def test_hair_cannot_be_kept_and_regenerated(fakes):
    photo = fakes.draw_photo()
    with pytest.raises(UsageError, match="kept and regenerated"):
        open_case([photo], keep="hair", seed=1, settings=Settings(hair="regenerate"))
