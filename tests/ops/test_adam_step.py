import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from vera.errors import ShapeError
from vera.ops import AdamState, adam_state_for, adam_step, learning_rate_at
from vera.ops.adam_step import adam_step_reference

N, K, D = 3, 5, 70  # d is past one block of the CPU loop and no multiple of a vector
TIE = np.arange(N * K, dtype=np.int32).reshape(N, K)
TIE[1, 1:4] = TIE[0, 1:4]  # samples 0 and 1 share three rows
TIE[2, 4] = TIE[2, 3]  # and sample 2 has two equal ones


def _draw(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def _tied_latent(dtype: Any = np.float32) -> Any:
    return _draw(1, N, K, D, dtype=dtype).reshape(-1, D)[TIE]


def _flat_rate(step: int, steps: int) -> float:
    """The ramp with a plateau of 1."""
    return learning_rate_at(step, steps, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_hundred_steps_agree_with_torch(dtype: Any) -> None:
    latent = _draw(1, N, K, D, dtype=dtype)
    goal = _draw(2, N, K, D, dtype=dtype)
    theirs = torch.from_numpy(latent.copy()).requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.1)
    state = adam_state_for(latent)
    for step in range(1, 201):
        optimiser.param_groups[0]["lr"] = learning_rate_at(step, 200, 0.1)
        theirs.grad = 2 * (theirs.detach() - torch.from_numpy(goal))
        optimiser.step()
        adam_step(latent, 2 * (latent - goal), state, step=step, steps=200, learning_rate=0.1)
    # Not tighter in float32: near the goal Adam divides small numbers whose last bits differ.
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(latent, theirs.detach().numpy(), atol=tolerance, rtol=0)


def test_every_option_together_agrees_with_the_reference() -> None:
    latent = _tied_latent(np.float64)
    expected = latent.copy()
    state, reference = adam_state_for(latent), adam_state_for(latent)
    frozen = np.zeros((N, K), np.uint8)
    frozen[0, 2] = frozen[2, 0] = 1
    step = np.array([1, 1, 17], np.int32)
    options: dict[str, Any] = {
        "steps": 25,
        "learning_rate": 0.05,
        "latent_mean": _draw(3, K, D, dtype=np.float64),
        "regulariser": 0.7,
        "tie": TIE,
        "frozen": frozen,
    }
    for i in range(20):  # sample 2 passes its last step on the way
        grad = _draw(10 + i, N, K, D, dtype=np.float64)
        adam_step(latent, grad, state, step=step + np.int32(i), **options)
        adam_step_reference(expected, grad, reference, step=step + np.int32(i), **options)
    np.testing.assert_allclose(latent, expected, rtol=1e-12)
    np.testing.assert_allclose(state.m, reference.m, rtol=1e-12)
    np.testing.assert_allclose(state.v, reference.v, rtol=1e-12)


def test_tied_rows_take_one_step_on_the_sum_and_stay_equal_bit_for_bit() -> None:
    latent = _tied_latent()
    grad = _draw(2, N, K, D)
    summed = grad.copy()
    summed[0, 1:4] += grad[1, 1:4]
    alone = latent.copy()
    adam_step(latent, grad, adam_state_for(latent), step=3, steps=10, learning_rate=0.1, tie=TIE)
    adam_step(alone, summed, adam_state_for(alone), step=3, steps=10, learning_rate=0.1)
    assert (latent[0] == alone[0]).all()
    assert (latent.reshape(-1, D)[TIE] == latent).all()
    assert (latent[1, 0] != latent[0, 0]).all()


def test_ties_of_single_rows_change_nothing() -> None:
    latent, grad = _draw(1, N, K, D), _draw(2, N, K, D)
    untied = latent.copy()
    single = np.arange(N * K, dtype=np.int32).reshape(N, K)
    adam_step(latent, grad, adam_state_for(latent), step=3, steps=10, learning_rate=0.1, tie=single)
    adam_step(untied, grad, adam_state_for(untied), step=3, steps=10, learning_rate=0.1)
    assert (latent == untied).all()


def test_a_frozen_row_holds_every_row_tied_to_it() -> None:
    latent = _tied_latent()
    before = latent.copy()
    state = adam_state_for(latent)
    frozen = np.zeros((N, K), np.uint8)
    frozen[1, 2] = 1
    grad = _draw(2, N, K, D)
    adam_step(latent, grad, state, step=1, steps=9, learning_rate=0.1, tie=TIE, frozen=frozen)
    held = np.zeros((N, K), bool)
    held[:2, 2] = True
    assert (latent[held] == before[held]).all()
    assert (state.m[held] == 0).all()
    assert (latent[~held] != before[~held]).any(axis=1).all()


def test_the_regulariser_pulls_by_the_gradient_of_its_mean_square() -> None:
    latent = torch.from_numpy(_draw(1, 2, K, D, dtype=np.float64)).requires_grad_()
    mean = _draw(2, K, D, dtype=np.float64)
    (0.3 * ((latent - torch.from_numpy(mean)) ** 2).mean(dim=(1, 2))).sum().backward()
    assert latent.grad is not None
    w = latent.detach().numpy()
    state = adam_state_for(w)
    adam_step(
        w,
        np.zeros_like(w),
        state,
        step=1,
        steps=10,
        learning_rate=0.1,
        latent_mean=mean,
        regulariser=0.3,
    )
    np.testing.assert_allclose(state.m, 0.1 * latent.grad.numpy(), rtol=1e-12)


def test_a_sample_does_the_same_alone_and_beside_samples_at_other_steps() -> None:
    latent, grad = _draw(1, N, K, D), _draw(2, N, K, D)
    alone = latent[1:2].copy()
    steps = np.array([5, 2, 30], np.int32)
    adam_step(latent, grad, adam_state_for(latent), step=steps, steps=20, learning_rate=0.1)
    adam_step(alone, grad[1:2], adam_state_for(alone), step=2, steps=20, learning_rate=0.1)
    assert (latent[1] == alone[0]).all()
    assert (latent[2] == _draw(1, N, K, D)[2]).all()  # past its last step


def test_the_ramp_rises_over_a_twentieth_and_falls_over_a_quarter() -> None:
    rates = [_flat_rate(step, 400) for step in range(1, 401)]
    assert rates[0] == pytest.approx(0.5 / 20)
    assert rates[9] == pytest.approx(9.5 / 20)
    assert all(rate == 1.0 for rate in rates[20:300])
    t = 349.5 / 400
    assert rates[349] == pytest.approx(0.5 - 0.5 * math.cos(math.pi * (1 - t) / 0.25))
    assert all(late < early for early, late in itertools.pairwise(rates[300:]))
    assert rates[-1] > 0
    assert _flat_rate(401, 400) == 0


def test_no_step_of_a_short_inversion_is_wasted() -> None:
    assert all(_flat_rate(step, 4) > 0.1 for step in range(1, 5))


def test_nan_spoils_its_own_element_only() -> None:
    latent, grad = _draw(1, N, K, D), _draw(2, N, K, D)
    grad[1, 2, 3] = np.nan
    adam_step(latent, grad, adam_state_for(latent), step=1, steps=10, learning_rate=0.1)
    assert np.isnan(latent[1, 2, 3])
    assert np.isnan(latent).sum() == 1


def test_an_empty_batch_is_a_step_of_nothing() -> None:
    latent = np.zeros((0, K, D), np.float32)
    adam_step(latent, latent, adam_state_for(latent), step=1, steps=10, learning_rate=0.1)
    assert latent.shape == (0, K, D)


def _broken_tie(row: int, value: int) -> Any:
    tie = TIE.copy()
    tie.reshape(-1)[row] = value
    return tie


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grad": np.zeros((N, K, 4), np.float32)}, r"`grad` must be \[3, 5, 70\]"),
        ({"grad": np.zeros((N, K, D))}, "`grad` must be float32, got float64"),
        ({"grad": np.zeros((D, K, N), np.float32).T}, "`grad` must be C-contiguous"),
        ({"step": 0}, "Steps count from 1"),
        ({"step": np.ones(2, np.int32)}, r"`step` must be an int or int32 \[3\]"),
        ({"tie": TIE.astype(np.int64)}, "`tie` must be int32, got int64"),
        ({"tie": _broken_tie(4, 99)}, "`tie` must name for each row.*got 99 at row 4"),
        ({"tie": _broken_tie(4, -1)}, "`tie` must name for each row.*got -1 at row 4"),
        ({"tie": _broken_tie(1, 0)}, "`tie` must name for each row.*got 1 at row 6"),
        ({"frozen": np.zeros((N, K), bool)}, "`frozen` must be uint8"),
        ({"latent_mean": np.zeros((N, K, D), np.float32)}, r"`latent_mean` must be \[5, 70\]"),
        ({"regulariser": 1.0}, "needs a `latent_mean`"),
    ],
)
def test_wrong_arguments_are_named_in_one_sentence(changed: dict[str, Any], message: str) -> None:
    latent = _draw(1, N, K, D)
    before = latent.copy()
    arguments: dict[str, Any] = {"grad": np.ones_like(latent), "step": 1} | changed
    with pytest.raises(ShapeError, match=message):
        adam_step(latent, state=adam_state_for(latent), steps=10, learning_rate=0.1, **arguments)
    assert (latent == before).all()


def test_a_read_only_latent_is_refused() -> None:
    latent = _draw(1, N, K, D)
    state = adam_state_for(latent)
    latent.flags.writeable = False
    with pytest.raises(ShapeError, match="`latent` is read-only"):
        adam_step(latent, latent, state, step=1, steps=10, learning_rate=0.1)


@pytest.mark.needs_cuda
def test_cuda_agrees_with_the_reference() -> None:
    cupy = pytest.importorskip("cupy")
    expected = _tied_latent(np.float64)
    latent = cupy.asarray(expected.astype(np.float32))
    state, reference = adam_state_for(latent), adam_state_for(expected)
    frozen = np.zeros((N, K), np.uint8)
    frozen[0, 2] = 1
    mean = _draw(3, K, D)
    assert isinstance(state, AdamState)
    for step in range(1, 11):
        grad = _draw(10 + step, N, K, D)
        adam_step(
            latent,
            cupy.asarray(grad),
            state,
            step=step,
            steps=10,
            learning_rate=0.1,
            latent_mean=cupy.asarray(mean),
            regulariser=0.7,
            tie=cupy.asarray(TIE),
            frozen=cupy.asarray(frozen),
        )
        adam_step_reference(
            expected,
            grad.astype(np.float64),
            reference,
            step=np.full(N, step, np.int32),
            steps=10,
            learning_rate=0.1,
            latent_mean=mean.astype(np.float64),
            regulariser=0.7,
            tie=TIE,
            frozen=frozen,
        )
    np.testing.assert_allclose(cupy.asnumpy(latent), expected, atol=1e-5, rtol=0)
