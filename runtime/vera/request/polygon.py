"""Polygons as a request: their text form, and the mask that they enclose.

Coordinates are x y in pixels of the upright photograph; pixel centres are integers.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vera.errors import PhotoError, ShapeError, UsageError

Polygon = tuple[tuple[float, float], ...]

_PREFIX = "polygon:"

# No photograph reaches further, and OpenCV's fixed-point coordinates would overflow far beyond it.
_FARTHEST = 100_000

# Far more than any outline needs. Each polygon of a request costs a pass over its photograph, and a
# request may come from anywhere.
_MOST_POLYGONS = 100
_LONGEST_NUMBER = 32

# Fraction bits of the coordinates that OpenCV fills: sixteenths of a pixel.
_SHIFT = 4

# Without two neighbours that match the same digits: such a pattern takes quadratic time to fail.
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
_POINT = re.compile(rf"({_NUMBER}),({_NUMBER})", re.ASCII)


def is_polygon(text: str) -> bool:
    """Whether a text means polygons, well formed or not."""
    return text.strip().lower().startswith(_PREFIX)


def parse_polygons(text: str) -> tuple[Polygon, ...]:
    """Read ``polygon:x,y x,y x,y``; several polygons are joined by semicolons.

    Raises:
        UsageError: A point is no pair of numbers, a polygon makes no sense, or there are too many.
    """
    bodies = text.strip()[len(_PREFIX) :].split(";")
    if len(bodies) > _MOST_POLYGONS:
        raise UsageError(
            f"{len(bodies)} polygons were given, more than {_MOST_POLYGONS}; join some of them, or "
            "give a mask instead."
        )
    return tuple(checked_polygon(_points(body, i), i) for i, body in enumerate(bodies, 1))


def _points(body: str, number: int) -> list[tuple[float, float]]:
    points = []
    # A space after a comma is common and means nothing.
    for word in ",".join(part.strip() for part in body.split(",")).split():
        found = _POINT.fullmatch(word) if len(word) <= 2 * _LONGEST_NUMBER + 1 else None
        if found is None or max(map(len, found.groups())) > _LONGEST_NUMBER:
            raise UsageError(
                f"'{shortened(word)}' in polygon {number} is no point; write polygon:x,y x,y x,y "
                "in pixels of the upright photograph."
            )
        points.append((float(found[1]), float(found[2])))
    return points


def shortened(word: str) -> str:
    """What was given, short enough for a sentence."""
    return word if len(word) <= 40 else f"{word[:37]}..."


def checked_polygon(
    points: Sequence[Sequence[float]] | npt.NDArray[np.generic], number: int = 1
) -> Polygon:
    """A polygon of these points.

    Args:
        points: [p, 2] x y in photo pixels, at least three.
        number: Which polygon of a request this is, for the message.

    Raises:
        ShapeError: An array that is not [p, 2].
        UsageError: Fewer than three points, or a point that is nowhere.
    """
    if len(points) < 3:
        raise UsageError(
            f"Polygon {number} has too few points, {len(points)}; give at least 3, as in "
            "polygon:120,310 260,310 190,390."
        )
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ShapeError(
            f"A polygon must be points [p, 2], got {list(array.shape)}; give x and y of each."
        )
    if not (np.abs(array) <= _FARTHEST).all():  # NaN fails, too
        raise UsageError(
            f"Polygon {number} has a point beyond {_FARTHEST} pixels; give the points in pixels of "
            "the upright photograph."
        )
    return tuple((float(x), float(y)) for x, y in array)


def polygon_mask(
    points: Sequence[Sequence[float]] | npt.NDArray[np.generic], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """What a polygon encloses, its edge included; what lies outside the photograph is cut off.

    Args:
        points: [p, 2] x y in photo pixels; closed by itself, crossing edges by the even-odd rule.
        size: Height and width of the photograph.

    Returns:
        bool [h, w] with at least one True.

    Raises:
        PhotoError: All of it lies outside the photograph.
        ShapeError: As in :func:`checked_polygon`, and so for UsageError.
    """
    import cv2

    corners = np.rint(np.array(checked_polygon(points)) * (1 << _SHIFT)).astype(np.int32)
    mask = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(mask, [corners], 1, cv2.LINE_8, _SHIFT)
    if not mask.any():
        raise PhotoError(
            f"The polygon lies outside the photograph of {size[1]} x {size[0]} pixels; give its "
            "points in pixels of the upright photograph."
        )
    return mask.view(np.bool_)
