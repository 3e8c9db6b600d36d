import numpy as np

from vera import contract
from vera.rendering.detail import add_detail, split

_MOUTH = contract.CLASSES.index("mouth")
_SKIN = contract.CLASSES.index("skin")


def _picture(side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_bands_of_a_larger_picture_add_up_to_it():
    picture = _picture(512)
    bands = split(picture)
    assert bands.crop.shape == (256, 256, 3)
    face = np.full((256, 256), _SKIN, np.uint8)
    whole = add_detail(bands.crop.astype(np.float32), bands.detail, face)
    np.testing.assert_allclose(whole, picture, atol=1e-3)


def test_detail_is_that_of_the_generated_face_only():
    bands = split(_picture(512))
    labels = np.zeros((256, 256), np.uint8)
    labels[:, 128:] = _SKIN
    fitted = np.full((256, 256, 3), 100, np.float32)
    whole = add_detail(fitted, bands.detail, labels)
    assert (whole[:, :254] == 100).all()
    np.testing.assert_allclose(whole[:, 300:], 100 + bands.detail[:, 300:], atol=1e-3)


def test_the_generators_copy_of_a_kept_part_leaves_no_detail_beside_it():
    bands = split(_picture(512))
    labels = np.full((256, 256), _SKIN, np.uint8)
    labels[100:120, 100:120] = _MOUTH
    fitted = np.full((256, 256, 3), 100, np.float32)
    whole = add_detail(fitted, bands.detail, labels, kept=(_MOUTH,))
    assert (whole[196:244, 196:244] == 100).all()
    np.testing.assert_allclose(whole[:, 300:], 100 + bands.detail[:, 300:], atol=1e-3)


def test_a_picture_of_the_crops_size_is_the_crop():
    picture = _picture(256)
    assert split(picture).crop is picture
    assert split(picture).detail is None


def test_a_smaller_picture_is_enlarged_and_has_no_detail():
    bands = split(_picture(64))
    assert bands.crop.shape == (256, 256, 3)
    assert bands.detail is None
