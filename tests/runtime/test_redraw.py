from dataclasses import replace

import numpy as np
import pytest

from vera import contract
from vera.face.appearance import Appearance, candidates
from vera.identity.redraw import RedrawConfig, draw_identity, redraw, replaced_rows

_MOUTH = contract.CLASSES.index("mouth")


@pytest.fixture
def bank(fake_bundle):
    return fake_bundle.identities


@pytest.fixture
def wanted(bank):
    expression = bank.codes[3, contract.high_level_row("expression")]
    like = (bank.skin[3], bank.female[3], bank.age[3], bank.yaw[3], expression)
    return Appearance(*like, -bank.embedding[3])


def test_same_seed_draws_the_same_person(bank, wanted):
    first = draw_identity(bank, wanted, (7,), 0)
    assert np.array_equal(first, draw_identity(bank, wanted, (7,), 0))


@pytest.mark.parametrize("other", [((7,), 1), ((8,), 0), ((7, 1), 0)])
def test_other_seed_or_draw_gives_another_person(bank, wanted, other):
    first, second = draw_identity(bank, wanted, (7,), 0), draw_identity(bank, wanted, *other)
    assert np.abs(first - second).mean() > 0.1


def test_best_candidate_fits_the_head(bank, wanted):
    assert candidates(bank, wanted, 5)[0] == 3


def test_donors_share_the_expression(bank, wanted):
    far = replace(wanted, expression=wanted.expression + 30)
    assert 3 in candidates(bank, wanted, 5)
    mean = [
        bank.codes[candidates(bank, like, 5), contract.high_level_row("expression")].mean()
        for like in (wanted, far)
    ]
    assert mean[1] > mean[0]


def test_likeness_to_the_original_is_avoided(bank, wanted):
    like_original = replace(wanted, embedding=bank.embedding[3])
    assert 3 not in candidates(bank, like_original, 5)


def test_zero_truncation_gives_the_mean_candidate(bank, wanted):
    drawn = draw_identity(bank, wanted, (1,), 0, RedrawConfig(candidates=6, truncation=0.0))
    mean = bank.codes[candidates(bank, wanted, 6)].mean(0)
    np.testing.assert_allclose(drawn, mean, atol=1e-6)


def test_only_identifying_rows_change():
    latents = np.zeros((1, 32, 64), np.float32)
    changed = redraw(latents, np.ones((32, 64), np.float32), [()])[0].any(1)
    assert np.flatnonzero(changed).tolist() == sorted(replaced_rows())
    kept = ["pose", "expression", "age"]
    assert not changed[[contract.high_level_row(name) for name in kept]].any()
    assert not changed[list(contract.COARSE_ROWS)].any()


def test_kept_region_keeps_its_codes():
    changed = redraw(np.zeros((1, 32, 64), np.float32), np.ones((32, 64), np.float32), [(_MOUTH,)])
    assert not changed[0, [contract.shape_row(_MOUTH), contract.texture_row(_MOUTH)]].any()
    assert changed[0, contract.high_level_row("identity")].all()


def test_pair_shares_the_identity_code_and_keeps_its_own_differences():
    latents = np.random.default_rng(0).normal(size=(2, 32, 64)).astype(np.float32)
    identity = np.random.default_rng(1).normal(size=(32, 64)).astype(np.float32)
    changed = redraw(latents, identity, [(), ()])
    row = contract.high_level_row("identity")
    assert np.array_equal(changed[0, row], changed[1, row])
    rows = replaced_rows()
    np.testing.assert_allclose(changed[:, rows].mean(0), identity[rows], atol=1e-5)
    np.testing.assert_allclose(
        changed[0, rows[0]] - changed[1, rows[0]],
        latents[0, rows[0]] - latents[1, rows[0]],
        atol=1e-5,
    )


def test_inputs_stay_as_they_are():
    latents = np.zeros((1, 32, 64), np.float32)
    redraw(latents, np.ones((32, 64), np.float32), [()])
    assert not latents.any()
