"""The loss of the inversion: values and gradients of all terms in one pass over memory.

The formulas stand in ``csrc/inversion_loss.h``. Results do not depend on the number of threads nor
on the other samples of a batch; they are equal bit for bit on machines that run the same set of
instructions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import _C
from vera.errors import ShapeError
from vera.ops.arrays import Array, aligned_zeros, stream_of
from vera.ops.inversion_target import COLUMNS, InversionTarget, LossTerm


@dataclass(frozen=True)
class LossBuffers:
    """The memory that `inversion_loss` writes: allocated once, so that a loop allocates nothing.

    Attributes:
        gradients: By contract name (``grad_image``, ``grad_segmentation``, ``grad_depth``,
            ``grad_feature_0``, ...), each shaped like its output. Outputs without a target have
            none; terms of weight 0 stay 0.
        values: float64 [n, 4].
        partials: float64, scratch.
    """

    gradients: dict[str, Array]
    values: Array
    partials: Array


def buffers_for(target: InversionTarget) -> LossBuffers:
    """Allocate the buffers for ``target``, on its device."""
    like = target.terms[0].scale
    tiles = sum(_tiles(term) for term in target.terms if term.active)
    return LossBuffers(
        {f"grad_{t.output}": aligned_zeros(like, t.shape, target.dtype) for t in target.terms},
        aligned_zeros(like, (target.n, len(COLUMNS)), np.float64),
        aligned_zeros(like, (target.n, tiles), np.float64),
    )


def inversion_loss(
    outputs: Mapping[str, Array],
    target: InversionTarget,
    buffers: LossBuffers,
    *,
    threads: int = 0,
) -> Array:
    """Compare the outputs of the generator with a target.

    A NaN in an output makes the term's value of that sample NaN, and the gradient at its pixel,
    even where the pixel's weight is 0; other samples and pixels are untouched. An infinite logit
    counts as NaN.

    Args:
        outputs: Arrays of the target's dtype by contract name: ``image``, ``segmentation``,
            ``depth``, ``feature_i``. Further entries are ignored, and so are outputs of terms whose
            weight is 0.
        target: From `prepare_target`.
        buffers: From `buffers_for`; the gradients are written there.
        threads: CPU threads; 0 leaves the number to OpenMP. The result does not depend on it.

    Returns:
        ``buffers.values``, float64 [n, 4]: pixel, perceptual, segmentation and coarse term, each
        times its weight. The next call overwrites it.

    Raises:
        ShapeError: An output is missing or has the wrong shape or dtype.
    """
    terms = [
        (
            term.output,
            term.kind,
            term.column,
            _output(outputs, term),
            term.constant,
            term.channel_weight,
            term.pixel_weight,
            term.scale,
            term.temperature,
            buffers.gradients[f"grad_{term.output}"],
        )
        for term in target.terms
        if term.active
    ]
    _C.inversion_loss(terms, buffers.partials, buffers.values, threads, stream_of(buffers.values))
    return buffers.values


def inversion_loss_reference(
    outputs: Mapping[str, npt.NDArray[np.floating]], target: InversionTarget
) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
    """The same in NumPy and float64, for tests and for reading.

    Returns:
        Values [n, 4], and the gradients by contract name.
    """
    values = np.zeros((target.n, len(COLUMNS)))
    gradients: dict[str, npt.NDArray[np.float64]] = {}
    forms = {"pixel": _pixel, "perceptual": _perceptual, "cross_entropy": _cross_entropy}
    for term in target.terms:
        gradients[f"grad_{term.output}"] = np.zeros(term.shape)
        if not term.active:
            continue
        x = np.asarray(_output(outputs, term), np.float64)
        weight = (
            np.ones((target.n, *term.shape[2:])) if term.pixel_weight is None else term.pixel_weight
        )
        weight = np.asarray(weight, np.float64) * np.asarray(term.scale, np.float64)[:, None, None]
        loss, grad = forms[term.kind](x, term)
        values[:, term.column] += (loss * weight).sum(axis=(1, 2))
        gradients[f"grad_{term.output}"] = grad * weight[:, None]
    return values, gradients


_Form = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # [n, h, w] and [n, c, h, w]


def _pixel(x: npt.NDArray[np.float64], term: LossTerm) -> _Form:
    difference = x - term.constant
    return (difference**2).sum(axis=1), 2 * difference


def _perceptual(x: npt.NDArray[np.float64], term: LossTerm) -> _Form:
    w = np.asarray(term.channel_weight, np.float64)[:, None, None]
    norm = np.sqrt((x * x).sum(axis=1, keepdims=True))
    n = norm + _C.NORM_EPS
    difference = x / n - term.constant
    along = (w * difference * x).sum(axis=1, keepdims=True)
    safe = np.where(norm == 0, 1.0, norm)
    grad = 2 * (w * difference / n - x * along / (n * n * safe))
    return (w * difference**2).sum(axis=1), np.where(norm == 0, 0.0, grad)


def _cross_entropy(x: npt.NDArray[np.float64], term: LossTerm) -> _Form:
    z = x / term.temperature
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    hit = term.constant[:, None] == np.arange(z.shape[1])[:, None, None]
    loss = np.log(total[:, 0]) - np.where(hit, z, 0).sum(axis=1)
    return loss, (np.exp(z) / total - hit) / term.temperature


def _tiles(term: LossTerm) -> int:
    return _C.inversion_loss_tiles(term.shape[1], term.shape[2] * term.shape[3])


def _output(outputs: Mapping[str, Array], term: LossTerm) -> Array:
    output = outputs.get(term.output)
    if output is None:
        raise ShapeError(
            f"The target compares `{term.output}`, but the outputs only have {sorted(outputs)};"
            f" add it, or give the term the weight 0."
        )
    if tuple(output.shape) != term.shape:
        raise ShapeError(
            f"`{term.output}` must be {list(term.shape)} like its target, got {list(output.shape)}."
        )
    return output
