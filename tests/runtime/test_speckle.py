"""Faces spoilt by coloured noise are passed over as long as there are others."""

import numpy as np
import pytest

from vera.rendering.speckle import speckled


@pytest.fixture
def skin():
    """A smooth face, uint8 [256, 256, 3]."""
    return np.broadcast_to(np.array([214, 160, 130], np.uint8), (256, 256, 3)).copy()


def _noisy(picture, place, seed=0):
    noise = np.random.default_rng(seed).integers(-90, 91, picture[place].shape)
    picture[place] = np.clip(picture[place] + noise, 0, 255).astype(np.uint8)
    return picture


def test_smooth_skin_is_not_speckled(skin, fakes):
    assert not speckled(skin, fakes.labels)


def test_patch_of_coloured_noise_on_a_cheek_is(skin, fakes):
    assert speckled(_noisy(skin, np.s_[150:166, 75:95]), fakes.labels)


def test_grey_texture_is_not(skin, fakes):
    grain = np.random.default_rng(0).integers(-40, 41, (256, 256, 1))
    assert not speckled(np.clip(skin + grain, 0, 255).astype(np.uint8), fakes.labels)


@pytest.mark.parametrize("place", [np.s_[112:128, 84:108], np.s_[0:40, 0:60]])
def test_noise_in_an_eye_or_beside_the_face_does_not_count(skin, fakes, place):
    assert not speckled(_noisy(skin, place), fakes.labels)


def _spoiling(fake_engines, spoilt):
    """The generator's pictures are smooth, but for those whose number ``spoilt`` accepts."""
    generator, count = fake_engines._generator, []

    def drawn(latent):
        outputs = generator(latent)
        tint = outputs["image"].mean((2, 3), keepdims=True)
        image = np.broadcast_to(tint, outputs["image"].shape).astype(np.float32).copy()
        image[..., 100:160, 100:156] = outputs["image"][..., 100:160, 100:156] * 0.1 + tint
        count.append(1)
        if spoilt(len(count)):
            image += np.random.default_rng(1).uniform(-0.7, 0.7, image.shape).astype(np.float32)
        return {**outputs, "image": image}

    fake_engines.overrides["generator"] = drawn


def test_spoilt_face_is_passed_over(run, fakes, fake_engines):
    _spoiling(fake_engines, lambda number: number == 1)
    image, report = run([fakes.draw_photo()])[0]
    assert image is not None
    assert report.faces[0].draws > 1


def test_spoilt_face_is_better_than_none(run, fakes, fake_engines):
    _spoiling(fake_engines, lambda number: True)
    image, report = run([fakes.draw_photo()])[0]
    assert image is not None
    assert report.faces[0].draws == 1
