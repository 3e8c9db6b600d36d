"""The constants of an inversion: everything that is known before its first step, prepared once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vera import _C
from vera.errors import ShapeError
from vera.ops.arrays import Array, array_module

IGNORE_LABEL = 255
COLUMNS = ("pixel", "perceptual", "segmentation", "coarse")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; 0 leaves a term out.

    Attributes:
        temperature: Divides the logits of the segmentation, and of nothing else: a generator
            trained towards +-1 needs about 0.2, one trained with cross-entropy 1. The coarse masks
            are the softmax of the pseudo-depths themselves, so they have no temperature.
    """

    pixel: float = 0.0
    perceptual: float = 0.0
    segmentation: float = 0.0
    coarse: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in COLUMNS:
            if not 0 <= getattr(self, name) < float("inf"):
                raise ShapeError(
                    f"The weight `{name}` must be finite and at least 0, got {getattr(self, name)}."
                )
        if not 0 < self.temperature < float("inf"):
            raise ShapeError(f"`temperature` must be above 0, got {self.temperature}.")


@dataclass(frozen=True)
class LossTerm:
    """One term of the loss: the constants of one output."""

    kind: str  # "pixel", "perceptual" or "cross_entropy"
    column: int  # of the values
    output: str  # contract name of the output
    shape: tuple[int, int, int, int]  # of the output and its gradient
    constant: Array  # target [n, c, h, w], normalised if perceptual; or labels uint8 [n, h, w]
    channel_weight: Array | None  # [c]
    pixel_weight: Array | None  # [n, h, w]
    scale: Array  # [n]: weight of the term / sum of the pixel weights of the sample
    active: bool  # False: the gradient stays 0
    temperature: float = 1.0


@dataclass(frozen=True)
class InversionTarget:
    """What the outputs are compared with; made by `prepare_target`."""

    n: int
    dtype: np.dtype[Any]
    terms: tuple[LossTerm, ...]


def prepare_target(
    *,
    image: Array | None = None,
    features: Sequence[Array] | None = None,
    feature_weights: Sequence[Array] | None = None,
    labels: Array | None = None,
    coarse_labels: Array | None = None,
    class_weights: Array | None = None,
    pixel_weight: Array | None = None,
    feature_pixel_weight: Sequence[Array] | None = None,
    label_weight: Array | None = None,
    weights: LossWeights,
    classes: int = 13,
) -> InversionTarget:
    """Prepare what stays constant during an inversion: normalised features, weights, divisors.

    Every term is a weighted mean over the pixels of its sample; a sample whose weights are all 0
    has value 0 and gradient 0. All arrays are float32 (or all float64, which is meant for tests)
    and live on one device; labels are uint8.

    Args:
        image: [n, 3, h, w], the photograph. The pixel term divides by 3 times the sum of
            ``pixel_weight``.
        features: Per layer [n, c, h, w] of the photograph, unnormalised.
        feature_weights: Per layer [c], at least 0; ones if left out.
        labels: uint8 [n, hs, ws], class per pixel, 255 = ignored.
        coarse_labels: uint8 [n, hc, wc], the same for the pseudo-depths.
        class_weights: [classes], at least 0; ones if left out. Both cross-entropies divide by the
            sum of the weights of their pixels, like torch's ``mean``.
        pixel_weight: [n, h, w], at least 0.
        feature_pixel_weight: Per layer [n, h, w], at least 0.
        label_weight: [n, hs, ws], at least 0.
        weights: Weights of the terms.
        classes: Number of classes.

    Raises:
        ShapeError: A shape, dtype, label or weight is wrong, or nothing is given.
    """
    terms: list[LossTerm] = []
    if image is not None:
        terms.append(_pixel_term(image, pixel_weight, weights.pixel))
    for i, feature in enumerate(features or ()):
        channel_weight = None if feature_weights is None else feature_weights[i]
        spatial = None if feature_pixel_weight is None else feature_pixel_weight[i]
        terms.append(_feature_term(i, feature, channel_weight, spatial, weights.perceptual))
    dtype = terms[0].scale.dtype if terms else np.dtype(np.float32)
    if labels is not None:
        cost = _label_weights(labels, class_weights, label_weight, classes, dtype)
        terms.append(
            _label_term(
                "segmentation", labels, cost, classes, weights.segmentation, weights.temperature
            )
        )
    if coarse_labels is not None:
        cost = _label_weights(coarse_labels, class_weights, None, classes, dtype)
        terms.append(_label_term("depth", coarse_labels, cost, classes, weights.coarse, 1.0))
    if not terms:
        raise ShapeError("A target needs an image, features, labels or coarse labels; got none.")
    _require_one_batch(terms)
    return InversionTarget(terms[0].shape[0], np.dtype(dtype), tuple(terms))


def _pixel_term(image: Array, pixel_weight: Array | None, weight: float) -> LossTerm:
    _require_float("image", image, 4)
    n, c, h, w = image.shape
    spatial = _spatial_weight("pixel_weight", pixel_weight, image)
    scale = _scale(weight, spatial, image, divisor=c)
    target = _contiguous(image)
    return LossTerm("pixel", 0, "image", (n, c, h, w), target, None, spatial, scale, weight > 0)


def _feature_term(
    i: int, feature: Array, channel_weight: Array | None, spatial: Array | None, weight: float
) -> LossTerm:
    _require_float(f"features[{i}]", feature, 4)
    n, c, h, w = feature.shape
    module = array_module(feature)
    if channel_weight is None:
        channel_weight = module.ones(c, feature.dtype)
    if channel_weight.shape != (c,) or not bool((channel_weight >= 0).all()):
        raise ShapeError(
            f"`feature_weights[{i}]` must be [{c}] and at least 0, got {list(channel_weight.shape)}"
            f" with minimum {float(channel_weight.min()) if channel_weight.size else 'none'}."
        )
    norm = module.sqrt((feature * feature).sum(axis=1, keepdims=True))
    normalised = _contiguous(feature / (norm + feature.dtype.type(_C.NORM_EPS)))
    spatial = _spatial_weight(f"feature_pixel_weight[{i}]", spatial, feature)
    return LossTerm(
        "perceptual",
        1,
        f"feature_{i}",
        (n, c, h, w),
        normalised,
        _contiguous(channel_weight.astype(feature.dtype)),
        spatial,
        _scale(weight, spatial, feature),
        weight > 0,
    )


def _label_weights(
    labels: Array,
    class_weights: Array | None,
    label_weight: Array | None,
    classes: int,
    dtype: Any,
) -> Array:
    """Weight of every pixel: that of its class, times its own, 0 where ignored."""
    if labels.dtype != np.uint8 or labels.ndim != 3:
        raise ShapeError(
            f"Labels must be uint8 [n, h, w], got {labels.dtype} {list(labels.shape)}."
        )
    wrong = (labels >= classes) & (labels != IGNORE_LABEL)
    if bool(wrong.any()):
        raise ShapeError(
            f"Labels must be below {classes}, or {IGNORE_LABEL} to be ignored,"
            f" got {int(labels[wrong].max())}."
        )
    module = array_module(labels)
    table = module.ones(classes, dtype) if class_weights is None else module.asarray(class_weights)
    if table.shape != (classes,) or not bool((table >= 0).all()):
        raise ShapeError(
            f"`class_weights` must be [{classes}] and at least 0, got {list(table.shape)}."
        )
    of_label = module.zeros(IGNORE_LABEL + 1, dtype)
    of_label[:classes] = table
    cost = of_label[labels]
    if label_weight is None:
        return cost
    if label_weight.shape != labels.shape or not bool((label_weight >= 0).all()):
        raise ShapeError(
            f"`label_weight` must be {list(labels.shape)} like the labels and at least 0,"
            f" got {list(label_weight.shape)}."
        )
    return (cost * label_weight).astype(dtype)


def _label_term(
    output: str, labels: Array, cost: Array, classes: int, weight: float, temperature: float
) -> LossTerm:
    n, h, w = labels.shape
    return LossTerm(
        "cross_entropy",
        2 if output == "segmentation" else 3,
        output,
        (n, classes, h, w),
        _contiguous(labels),
        None,
        _contiguous(cost),
        _scale(weight, cost, cost),
        weight > 0,
        temperature,
    )


def _scale(weight: float, spatial: Array | None, like: Array, divisor: int = 1) -> Array:
    """Weight of the term / (divisor * sum of the pixel weights), per sample [n]."""
    module = array_module(like)
    n, pixels = like.shape[0], like.shape[-2] * like.shape[-1]
    total = (
        module.full(n, float(pixels))
        if spatial is None
        else spatial.sum(axis=(1, 2), dtype=np.float64)
    )
    total = total * divisor
    empty = total == 0
    return module.where(empty, 0.0, weight / module.where(empty, 1.0, total)).astype(like.dtype)


def _spatial_weight(name: str, weight: Array | None, output: Array) -> Array | None:
    if weight is None:
        return None
    expected = (output.shape[0], *output.shape[2:])
    if weight.shape != expected or weight.dtype != output.dtype or not bool((weight >= 0).all()):
        raise ShapeError(
            f"`{name}` must be {output.dtype} {list(expected)} and at least 0,"
            f" got {weight.dtype} {list(weight.shape)}."
        )
    return _contiguous(weight)


def _require_float(name: str, array: Array, ndim: int) -> None:
    if array.ndim != ndim or array.dtype not in (np.float32, np.float64):
        raise ShapeError(
            f"`{name}` must be float32 [n, c, h, w], got {array.dtype} {list(array.shape)}."
        )


def _require_one_batch(terms: Sequence[LossTerm]) -> None:
    first = terms[0]
    for term in terms[1:]:
        if term.shape[0] != first.shape[0] or term.scale.dtype != first.scale.dtype:
            raise ShapeError(
                f"`{term.output}` has batch {term.shape[0]} and {term.scale.dtype}, but"
                f" `{first.output}` has {first.shape[0]} and {first.scale.dtype};"
                f" all targets must agree."
            )


def _contiguous(array: Array) -> Array:
    return array_module(array).ascontiguousarray(array)
