"""Wrong arrays and targets are refused in one sentence that names them."""

from typing import Any

import numpy as np
import pytest
from loss_case import WEIGHTS, make_case, make_labels, make_outputs

from vera.errors import ShapeError
from vera.ops import LossWeights, buffers_for, build_info, inversion_loss, prepare_target


def test_wrong_arrays_are_named_in_one_sentence() -> None:
    outputs, target = make_outputs(), prepare_target(**make_case())
    image = outputs["image"]
    buffers = buffers_for(target)

    def call(**changed: Any) -> None:
        inversion_loss({**outputs, **changed}, target, buffers)

    with pytest.raises(ShapeError, match=r"`image` must be \[2, 3, 37, 41\].*got \[1, 3, 37, 41\]"):
        call(image=image[:1])
    with pytest.raises(ShapeError, match="`image` must be float32, got float64"):
        call(image=image.astype(np.float64), depth=outputs["depth"].astype(np.float64))
    with pytest.raises(ShapeError, match="`image` must be C-contiguous"):
        call(image=np.asfortranarray(image))
    with pytest.raises(ShapeError, match="`image` must be an array with __dlpack__"):
        call(image=_Shaped(image.shape))
    with pytest.raises(ShapeError, match="compares `image`, but the outputs only have"):
        inversion_loss({}, target, buffers)
    buffers.gradients["grad_image"].flags.writeable = False
    with pytest.raises(ShapeError, match="`grad` is read-only"):
        call()


class _Shaped:
    """Has a shape, but is no array."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": np.zeros((2, 3, 4, 4), np.uint8)}, "`image` must be float32"),
        ({"coarse_labels": make_labels(1, 1, 32, 32)}, "all targets must agree"),
        ({"labels": np.full((2, 19, 23), 13, np.uint8)}, "Labels must be below 13"),
        ({"labels": np.zeros((2, 19, 23), np.int64)}, "Labels must be uint8"),
        ({"class_weights": np.ones(12, np.float32)}, r"`class_weights` must be \[13\]"),
        ({"class_weights": -np.ones(13, np.float32)}, "at least 0"),
        ({"pixel_weight": np.zeros((2, 4, 4), np.float32)}, "`pixel_weight` must be float32"),
        ({"label_weight": np.zeros((2, 4, 4), np.float32)}, "`label_weight` must be"),
    ],
)
def test_wrong_targets_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        prepare_target(**{**make_case(), **changed})


def test_a_target_of_nothing_is_refused() -> None:
    with pytest.raises(ShapeError, match="got none"):
        prepare_target(weights=WEIGHTS)


@pytest.mark.parametrize("field", ["pixel", "perceptual", "segmentation", "coarse", "temperature"])
def test_weights_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(ShapeError, match=field):
        LossWeights(**{field: -1.0})


def test_build_info_names_the_back_ends() -> None:
    info = build_info()
    assert info["cpu"] in ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64", "generic")
    assert info["openmp"] is True
    assert info["cuda"] == bool(info["architectures"])
