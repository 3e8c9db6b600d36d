from dataclasses import replace

import numpy as np
import pytest

from vera import contract
from vera.bundle import load_bundle
from vera.errors import EngineError
from vera.face.faces import find_faces
from vera.identity.inversion import InversionConfig, invert, settled, tied_rows
from vera.identity.target import class_weights, inside_photo, make_target
from vera.ops.inversion_target import LossWeights

_IDENTITY = contract.high_level_row("identity")


def _faces(fakes, engines, seeds):
    photos = [fakes.draw_photo(seed) for seed in seeds]
    return [find_faces(photo, engines)[0][0] for photo in photos]


def _invert(faces, engines, bundle, **settings):
    config = InversionConfig(**{"steps": 5, "learning_rate": 0.05, **settings})
    return invert(faces, [(320, 320)] * len(faces), engines, bundle, config, lambda done: None)


def test_loss_falls_and_is_repeatable(fakes, fake_engines, fake_bundle):
    faces = _faces(fakes, fake_engines, [0])
    first = _invert(faces, fake_engines, fake_bundle)
    assert len(first.losses) == 6
    assert first.losses[-1] < 0.8 * first.losses[0]
    second = _invert(faces, fake_engines, fake_bundle)
    assert first.losses == second.losses
    assert np.array_equal(first.latents, second.latents)


def test_case_shares_the_identity_code_and_nothing_else(fakes, fake_engines, fake_bundle):
    latents = _invert(_faces(fakes, fake_engines, [0, 1]), fake_engines, fake_bundle).latents
    assert np.array_equal(latents[0, _IDENTITY], latents[1, _IDENTITY])
    others = [row for row in range(contract.LATENT_ROWS) if row != _IDENTITY]
    assert all((latents[0, row] != latents[1, row]).any() for row in others)


def test_without_an_encoder_it_starts_at_the_mean_latent(fakes, fake_engines, tmp_path):
    mean = np.random.default_rng(1).normal(size=(32, 64)).astype(np.float32)
    engines = {n: {"file": f"{n}.onnx"} for n in contract.ENGINES if n != "encoder"}
    folder = fakes.write_bundle(tmp_path / "bundle", engines=engines)
    bundle = load_bundle(folder)
    vars(bundle)["identities"] = replace(bundle.identities, mean=mean)  # cached
    faces = _faces(fakes, fake_engines, [0, 1])
    inversion = _invert(faces, fake_engines, bundle, steps=0)
    assert "encoder" not in fake_engines.calls
    assert np.array_equal(inversion.latents, np.stack([mean, mean]))


def test_settings_suit_the_start(fakes, fake_bundle, tmp_path):
    assert InversionConfig.suited(fake_bundle) == InversionConfig()
    assert InversionConfig.suited(fake_bundle, 3).steps == 3
    engines = {n: {"file": f"{n}.onnx"} for n in contract.ENGINES if n != "encoder"}
    far = InversionConfig.suited(load_bundle(fakes.write_bundle(tmp_path / "far", engines=engines)))
    assert (far.steps, far.learning_rate, far.regulariser) == (400, 0.1, 1.0)


def test_target_has_the_sizes_of_the_layout(fakes, fake_engines):
    fake_engines.layout = contract.Layout(image=512, segmentation=512, coarse=64)
    fake_engines.overrides["perceptual"] = lambda crop: fake_engines._perceptual(
        crop[:, :, ::2, ::2]
    )
    face = _faces(fakes, fake_engines, [0])[0]
    assert face.picture.shape == (512, 512, 3)
    assert face.labels.shape == (256, 256)
    weights = [np.ones(c, np.float32) for c, _ in contract.PERCEPTUAL_TAPS]
    ones = LossWeights(1.0, 1.0, 1.0, 1.0)
    target = make_target(face, (320, 320), fake_engines, weights, ones)
    assert target.one_hot.shape == (1, 13, 512, 512)
    assert [term.shape[-1] for term in target.constants.terms] == [512, 128, 64, 32, 16, 512, 64]


def test_zero_steps_give_the_encoders_latents(fakes, fake_engines, fake_bundle):
    faces = _faces(fakes, fake_engines, [0])
    inversion = _invert(faces, fake_engines, fake_bundle, steps=0)
    assert inversion.report.steps == 0
    assert len(np.unique(inversion.latents[0, 2:])) == 1  # as the fake encoder gives them


def test_it_stops_when_the_loss_no_longer_improves(fakes, fake_engines, fake_bundle):
    faces = _faces(fakes, fake_engines, [0])
    inversion = _invert(faces, fake_engines, fake_bundle, steps=20, learning_rate=1e-9, patience=2)
    assert inversion.report.steps == 2


def test_diverging_steps_give_back_the_best_latents(fakes, fake_engines, fake_bundle):
    faces = _faces(fakes, fake_engines, [0])
    inversion = _invert(faces, fake_engines, fake_bundle, steps=3, learning_rate=50.0)
    assert inversion.report.loss_after <= inversion.report.loss_before


def test_progress_reaches_one_and_never_falls(fakes, fake_engines, fake_bundle):
    told: list[float] = []
    faces = _faces(fakes, fake_engines, [0])
    invert(faces, [(320, 320)], fake_engines, fake_bundle, InversionConfig(steps=2), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_loss_that_is_not_finite_is_an_engine_error(fakes, fake_engines, fake_bundle):
    faces = _faces(fakes, fake_engines, [0])
    render = fake_engines.render

    def broken(latent):
        outputs = render(latent)
        outputs["image"][0, 0, 0, 0] = np.nan
        return outputs

    fake_engines.render = broken
    with pytest.raises(EngineError, match="not finite"):
        _invert(faces, fake_engines, fake_bundle)


def test_outside_of_the_photograph_counts_nothing():
    half_out = np.array([[1.0, 0, 4.0], [0, 1, 0]])  # crop starts 4 px left of the photograph
    inside = inside_photo(half_out, 8, (8, 100))
    assert inside[:, :4].sum() == 0
    assert inside[:, 4:].all()


def test_rare_classes_weigh_more_up_to_a_cap():
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 0, :4] = 1
    labels[0, 1, 0] = 2
    weights = class_weights(labels)
    assert weights[0] == 1
    assert weights[1] == pytest.approx((395 / 4) ** 0.5, rel=1e-3) or weights[1] == 6
    assert weights[2] == 6


def test_tied_rows_name_the_first_photograph():
    tie = tied_rows(3)
    assert tie[:, _IDENTITY].tolist() == [_IDENTITY] * 3
    assert len(np.unique(tie)) == 3 * contract.LATENT_ROWS - 2


def test_settled_compares_best_losses():
    assert not settled([1.0, 0.5], 2, 0.01)
    assert settled([1.0, 0.999, 0.998], 2, 0.01)
    assert not settled([1.0, 0.9, 1.5], 2, 0.01)
