"""Readings of a face by the attribute engine, and how far an output's is from the original's.

Of the original only the difference is ever told.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines, Tensor
from vera.errors import EngineError
from vera.face.faces import skin_colour
from vera.pixels import align
from vera.pixels.labels import probabilities, to_labels
from vera.report import AttributeChange

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One face, as the engines see it; never reported.

    Attributes:
        pose: float32 [3], yaw, pitch and roll in degrees.
        expression: float32 [7], probabilities in the order of ``contract.EXPRESSIONS``.
        mouth_open: Inner lip gap over mouth width.
        age: Years.
        skin: float32 [3], mean CIE Lab of the skin.
    """

    pose: Tensor
    expression: Tensor
    mouth_open: float
    age: float
    skin: Tensor


def read_face(
    image: Image,
    points: npt.NDArray[np.float64],
    engines: Engines,
    labels: npt.NDArray[np.uint8] | None = None,
) -> Reading:
    """Reads the attributes of a face.

    Two readings compare best with the same points: the crops are then the same square.

    Args:
        image: uint8 [h, w, 3].
        points: float64 [5, 2], photo pixels.
        engines: Runs the attribute engine, and the parser if ``labels`` are not known.
        labels: uint8 [256, 256], part map of the crop of these points, for the skin's colour.

    Raises:
        EngineError: An attribute is not finite.
    """
    size = contract.ATTRIBUTES_SIZE
    face = align.to_tensor(_square(image, points, size))
    attributes = engines.run("attributes", face=face)
    crop = _square(image, points, contract.CROP_SIZE)
    if labels is None:
        labels = _labels(image, points, crop, engines)
    reading = Reading(
        pose=attributes["pose"][0],
        expression=attributes["expression"][0],
        mouth_open=float(attributes["mouth_open"][0, 0]),
        age=float(attributes["age"][0, 0]),
        skin=skin_colour(crop, labels),
    )
    parts = (reading.pose, reading.expression, reading.mouth_open, reading.age, reading.skin)
    if not all(np.isfinite(part).all() for part in parts):
        raise EngineError("The attribute engine gave a value that is not finite; run vera check.")
    return reading


def change(before: Reading, after: Reading) -> AttributeChange:
    """How far ``after`` is from ``before``, rounded as far as the engines are good for it."""
    yaw, pitch, roll = after.pose - before.pose
    return AttributeChange(
        yaw=_rounded(yaw, 1),
        pitch=_rounded(pitch, 1),
        roll=_rounded(roll, 1),
        expression=_rounded(np.abs(after.expression - before.expression).sum() / 2, 3),
        mouth_open=_rounded(after.mouth_open - before.mouth_open, 3),
        age=_rounded(after.age - before.age, 1),
        skin_tone=_rounded(np.linalg.norm(after.skin - before.skin), 1),
    )


def told_change(exact: AttributeChange, preserve: Collection[str]) -> AttributeChange:
    """A change as a report may tell it: without sign and in coarse steps.

    Who has the output could otherwise take the exact difference off its reading, and would have the
    reading of the original, also of what the new person was not to take over.
    """

    def step(value: float | None, size: float) -> float | None:
        return None if value is None else round(abs(value) / size) * size

    return AttributeChange(
        yaw=step(exact.yaw, 5.0),
        pitch=step(exact.pitch, 5.0),
        roll=step(exact.roll, 5.0),
        expression=exact.expression if "expression" in preserve else None,
        mouth_open=_tenths(exact.mouth_open) if "expression" in preserve else None,
        age=step(exact.age, 5.0) if "age" in preserve else None,
        skin_tone=exact.skin_tone if "skin-tone" in preserve else None,
    )


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(abs(value), 1)


def _rounded(value: float | np.floating, digits: int) -> float:
    return round(float(value), digits) + 0.0  # no "-0.0" in a report


def _square(image: Image, points: npt.NDArray[np.float64], size: int) -> Image:
    return align.warp_to_crop(image, align.crop_matrix(points, size=size), size)


def _labels(
    image: Image, points: npt.NDArray[np.float64], crop: Image, engines: Engines
) -> npt.NDArray[np.uint8]:
    side = engines.layout.parser
    seen = crop if side == contract.CROP_SIZE else _square(image, points, side)
    logits = engines.run("parser", crop=align.to_tensor(seen))["logits"]
    return to_labels(probabilities(logits))
