"""One step of Adam on latents, in place: rate ramp, regulariser, tied and frozen rows.

The formulas stand in ``csrc/adam_step.h``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import _C
from vera.errors import ShapeError
from vera.ops.arrays import Array, aligned_zeros, array_module, stream_of


@dataclass(frozen=True)
class AdamState:
    """Moments of Adam, updated in place by `adam_step`.

    Attributes:
        m: First moment, like the latent. Of tied rows, only the representative's is kept.
        v: Second moment, likewise.
        links: int32 [2, n * k], scratch.
    """

    m: Array
    v: Array
    links: Array


def adam_state_for(latent: Array) -> AdamState:
    """A fresh state for ``latent`` [n, k, d], on its device."""
    if latent.ndim != 3:
        raise ShapeError(f"`latent` must be [n, k, d], got {list(latent.shape)}.")
    return AdamState(
        aligned_zeros(latent, latent.shape, latent.dtype),
        aligned_zeros(latent, latent.shape, latent.dtype),
        aligned_zeros(latent, (2, latent.shape[0] * latent.shape[1]), np.int32),
    )


def learning_rate_at(step: int, steps: int, learning_rate: float) -> float:
    """The ramp: linear up over the first 5 % of the steps, cosine down over the last 25 %.

    Args:
        step: Counts from 1. The rate is taken in the middle of the step, t = (step - 0.5) / steps,
            so that neither the first nor the last step has the rate 0. Past the last step it is 0.
        steps: Number of steps of the whole inversion.
        learning_rate: The plateau.
    """
    return _C.learning_rate_at(step, steps, learning_rate)


def adam_step(
    latent: Array,  # [n, k, d], updated
    grad: Array,  # [n, k, d]
    state: AdamState,
    *,
    step: int | Array,
    steps: int,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    latent_mean: Array | None = None,
    regulariser: float = 0.0,
    tie: Array | None = None,
    frozen: Array | None = None,
) -> None:
    """Take one step of Adam, with eps where torch has it, and the ramp of `learning_rate_at`.

    Tied rows take one step together, on the sum of their gradients, and come out equal bit for
    bit. Frozen rows, all rows tied to one, and samples past their last step stay as they are. A NaN
    gradient makes its element NaN.

    Args:
        latent: float32 (or float64) C-contiguous.
        grad: Gradient of the loss; not changed.
        state: From `adam_state_for`.
        step: Number of this step, counted from 1: one for all samples, or int32 [n].
        steps: Number of steps of the whole inversion, for the ramp.
        learning_rate: Plateau of the ramp.
        betas: Decay of the moments.
        eps: Added to the root of the bias-corrected second moment.
        latent_mean: [k, d]; adds the gradient of ``regulariser * mean((w - latent_mean)**2)``, the
            mean over a sample.
        regulariser: Weight of that pull.
        tie: int32 [n, k]: flat index (in n * k) of the row that represents the row; a
            representative names itself.
        frozen: uint8 [n, k], 1 = stays.

    Raises:
        ShapeError: A shape, dtype or range is wrong.
    """
    steps_taken = _step_numbers(latent, step, steps)
    _require_like(latent, grad, state, latent_mean, tie, frozen)
    if regulariser != 0 and latent_mean is None:
        raise ShapeError("A `regulariser` needs a `latent_mean` to pull towards; got None.")
    _C.adam_step(
        latent,
        grad,
        state.m,
        state.v,
        steps_taken,
        latent_mean,
        tie,
        frozen,
        state.links,
        steps,
        learning_rate,
        betas[0],
        betas[1],
        eps,
        regulariser,
        stream_of(latent),
    )


def adam_step_reference(
    latent: npt.NDArray[np.float64],
    grad: npt.NDArray[np.float64],
    state: AdamState,
    *,
    step: npt.NDArray[np.int32],
    steps: int,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    latent_mean: npt.NDArray[np.float64] | None = None,
    regulariser: float = 0.0,
    tie: npt.NDArray[np.int32] | None = None,
    frozen: npt.NDArray[np.uint8] | None = None,
) -> None:
    """The same in NumPy, for tests and for reading; `step` is int32 [n]."""
    n, k, d = latent.shape
    if latent_mean is not None:
        grad = grad + 2 * regulariser * (latent - latent_mean) / (k * d)
    rows, m, v = latent.reshape(-1, d), state.m.reshape(-1, d), state.v.reshape(-1, d)
    groups = np.arange(n * k) if tie is None else tie.reshape(-1)
    for leader in np.unique(groups):
        members = np.flatnonzero(groups == leader)
        i = int(step[leader // k])
        stays = frozen is not None and bool(frozen.reshape(-1)[members].any())
        if i > steps or stays:
            continue
        g = grad.reshape(-1, d)[members].sum(axis=0)
        m[leader] += (1 - betas[0]) * (g - m[leader])
        v[leader] = betas[1] * v[leader] + (1 - betas[1]) * g * g
        rate = learning_rate_at(i, steps, learning_rate) / (1 - betas[0] ** i)
        denominator = np.sqrt(v[leader]) / np.sqrt(1 - betas[1] ** i) + eps
        rows[members] = rows[leader] - rate * m[leader] / denominator


def _step_numbers(latent: Array, step: int | Array, steps: int) -> Array:
    module = array_module(latent)
    if isinstance(step, int):
        step = module.full(latent.shape[0], step, np.int32)
    elif step.shape != (latent.shape[0],) or step.dtype != np.int32:
        raise ShapeError(
            f"`step` must be an int or int32 [{latent.shape[0]}],"
            f" got {step.dtype} {list(step.shape)}."
        )
    # On a device the check would wait for the stream; there a step below 1 gives NaN.
    if steps < 1 or (module is np and bool((step < 1).any())):
        got = step.tolist() if module is np else "on a device"
        raise ShapeError(f"Steps count from 1, got step {got} of {steps}.")
    return step


def _require_like(
    latent: Array,
    grad: Array,
    state: AdamState,
    latent_mean: Array | None,
    tie: Array | None,
    frozen: Array | None,
) -> None:
    if latent.ndim != 3:
        raise ShapeError(f"`latent` must be [n, k, d], got {list(latent.shape)}.")
    n, k, d = latent.shape
    expected = {
        "grad": (grad, (n, k, d)),
        "state": (state.m, (n, k, d)),
        "latent_mean": (latent_mean, (k, d)),
        "tie": (tie, (n, k)),
        "frozen": (frozen, (n, k)),
    }
    for name, (array, shape) in expected.items():
        if array is not None and tuple(array.shape) != shape:
            raise ShapeError(f"`{name}` must be {list(shape)}, got {list(array.shape)}.")
