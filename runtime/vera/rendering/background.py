"""The surroundings of the people in a photograph, blurred until nothing can be read in them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vera.contract import CLASSES, CROP_SIZE
from vera.face.faces import AlignedFace
from vera.pixels.align import Box, Matrix, face_scale, mask_to_photo
from vera.pixels.morphology import parts
from vera.pixels.strips import strips

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

_BACKGROUND = CLASSES.index("background")

# Standard deviation of the blur: half the distance of the largest face's eyes, in crop pixels, but
# no less than this share of the photograph's diagonal.
_BLUR = 32.0
_LEAST_BLUR = 1 / 80

# The blur is made at a size at which its standard deviation has about this many pixels.
_REDUCED_BLUR = 6.0

# At the crop's sides the person fades into the blur over this width. Crop pixels.
_FADE = 40.0

# Shares of person between which the photograph turns sharp: the parser's own edge is soft.
_FROM, _TO = 0.25, 0.75

# Colours near a person by this much are mixed with the person's. Crop pixels.
_RIM = 6

# Fewer known pixels than this around a pixel, as a share of all under the blur, say little: there a
# blur twice as wide fills in.
_FEWEST = 0.05


def blur_background(
    image: Image, faces: Sequence[AlignedFace], kept: npt.NDArray[np.bool_]
) -> Image:
    """A copy of the photograph in which everything that is no person is blurred.

    What is a person is known inside the faces' crops only; everything beyond is blurred, shoulders
    included. Under the blur lie colours of the surroundings alone (normalised convolution, Knutsson
    and Westin 1993), so that no halo of a person is around them. To be called on the photograph
    before faces are replaced: the new faces lie on it then.

    Args:
        image: uint8 [h, w, 3].
        faces: The people that stay sharp, at least one.
        kept: bool [h, w], True: the photograph stays.

    Returns:
        uint8 [h, w, 3].
    """
    import cv2

    height, width = image.shape[:2]
    people = [(face.matrix, _person(face.shares)) for face in faces]
    scale = max(face_scale(face.matrix) for face in faces)
    sigma = max(_BLUR * scale, _LEAST_BLUR * float(np.hypot(height, width)))
    factor = max(1.0, sigma / _REDUCED_BLUR)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    blurred = _surroundings(image, people, size, sigma / factor)
    result = np.empty_like(image)
    ratio_x, ratio_y = size[0] / width, size[1] / height
    for rows in strips(height):
        # Rows of the small image under this strip; the whole enlarged would be floats of its size.
        lookup = np.array([[ratio_x, 0, 0.5 * ratio_x - 0.5], [0, ratio_y, 0]])
        lookup[1, 2] = (rows.start + 0.5) * ratio_y - 0.5
        shape = (width, rows.stop - rows.start)
        linear, edge = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        around = cv2.warpAffine(blurred, lookup, shape, flags=linear, borderMode=edge)
        share = _share(people, Box(0, rows.start, width, rows.stop))
        share[kept[rows]] = 1
        soft, sharp = (share > 0) & (share < 1), share == 1
        levels = image[rows][soft].astype(np.float32)
        around[soft] = levels + (1 - share[soft])[:, np.newaxis] * (around[soft] - levels)
        result[rows] = np.clip(np.rint(around, out=around), 0, 255)
        result[rows][sharp] = image[rows][sharp]
    return result


def _person(shares: npt.NDArray[np.float32]) -> Plane:
    """How much of each crop pixel [256, 256] stays sharp."""
    edge = np.arange(CROP_SIZE, dtype=np.float32)
    ramp = np.clip(np.minimum(edge, edge[::-1]) / _FADE, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    person = np.clip((1 - shares[_BACKGROUND] - _FROM) / (_TO - _FROM), 0, 1)
    # Only what is joined to the face: things in the room are taken for cloth or hair, too.
    numbers, sizes = parts(person > 0)
    person = np.where(numbers == int(sizes.argmax()), person, 0)
    return np.asarray(person * ramp[:, None] * ramp, np.float32)


def _share(people: Sequence[tuple[Matrix, Plane]], box: Box) -> Plane:
    """How much of each pixel of ``box`` is a person's."""
    total = np.zeros(box.shape, np.float32)
    for matrix, person in people:
        np.maximum(total, mask_to_photo(person, matrix, box), out=total)
    return total


def _surroundings(
    image: Image, people: Sequence[tuple[Matrix, Plane]], size: tuple[int, int], sigma: float
) -> Plane:
    """The blurred surroundings [h, w, 3] at a reduced ``size`` (width, height)."""
    import cv2

    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    ratio = np.diag([size[0] / image.shape[1], size[1] / image.shape[0]])
    known = np.ones(small.shape[:2], np.float32)
    kernel = np.ones((2 * _RIM + 1, 2 * _RIM + 1), np.uint8)
    for matrix, person in people:
        # The matrix from the reduced image: pixel centres at (x + 0.5) * ratio - 0.5.
        linear = matrix[:, :2] @ np.linalg.inv(ratio)
        shift = matrix[:, :2] @ (0.5 / np.diag(ratio) - 0.5) + matrix[:, 2]
        moved = np.column_stack([linear, shift])
        wider = cv2.dilate(person, kernel).astype(np.float32)
        box = Box(0, 0, *size)
        known *= 1 - mask_to_photo(wider, moved, box)
    return _spread(small, known, sigma)


def _spread(levels: Plane, known: Plane, sigma: float) -> Plane:
    """Normalised convolution, from a wide blur to the one asked for; nothing known gives a mean."""
    import cv2

    weighted = levels * known[..., np.newaxis]
    mean = weighted.sum((0, 1)) / max(float(known.sum()), 1e-6) if known.any() else 0
    filled = np.broadcast_to(np.asarray(mean, np.float32), levels.shape).copy()
    for width in (4 * sigma, 2 * sigma, sigma):
        share = cv2.GaussianBlur(known, (0, 0), width, borderType=cv2.BORDER_REFLECT)
        blurred = cv2.GaussianBlur(weighted, (0, 0), width, borderType=cv2.BORDER_REFLECT)
        trust = np.clip(share / _FEWEST, 0, 1)[..., np.newaxis]
        filled += trust * (blurred / np.maximum(share, 1e-6)[..., np.newaxis] - filled)
    return filled
