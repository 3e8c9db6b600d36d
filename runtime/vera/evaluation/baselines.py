"""What photographs are anonymised with where there is nothing better: blur, blocks, a black box.

Sizes are those of common tools: the detected box grown by 1.3, as an ellipse for the blur.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle
from vera.contract import high_level_row
from vera.engines import Engines
from vera.errors import RefusedError
from vera.evaluation import BASELINES
from vera.evaluation.originals import Original
from vera.face.appearance import LASTING, Appearance, candidates
from vera.face.faces import AlignedFace
from vera.pixels.align import to_image
from vera.pixels.labels import probabilities, to_labels
from vera.rendering.compose import Replacement, compose
from vera.rendering.detail import split
from vera.rendering.fit import fit_face

Image = npt.NDArray[np.uint8]

_GROWTH = 1.3  # of the detected box
_BLUR_SHARE = 0.5  # side of the box filter, of the face's box
_BLOCKS = 16  # along the longer side of the grown box


def _blur(image: Image, face: AlignedFace) -> None:
    import cv2

    rows, columns = _place(image, face)
    part = image[rows, columns]
    height, width = part.shape[:2]
    window = [max(1, round(_BLUR_SHARE / _GROWTH * side)) for side in (width, height)]
    blurred = cv2.blur(part, window)
    inside = np.zeros((height, width), np.uint8)
    centre = (width // 2, height // 2)
    cv2.ellipse(inside, centre, centre, 0, 0, 360, 1, -1)
    part[inside > 0] = blurred[inside > 0]


def _pixelate(image: Image, face: AlignedFace) -> None:
    import cv2

    rows, columns = _place(image, face)
    part = image[rows, columns]
    height, width = part.shape[:2]
    block = max(1, round(max(height, width) / _BLOCKS))
    small = (max(1, round(width / block)), max(1, round(height / block)))
    coarse = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    part[...] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def _black_box(image: Image, face: AlignedFace) -> None:
    image[_place(image, face)] = 0


def _place(image: Image, face: AlignedFace) -> tuple[slice, slice]:
    """The grown box of a face, inside the photograph."""
    left, top, right, bottom = face.found.box
    x, y = (left + right) / 2, (top + bottom) / 2
    half_x, half_y = _GROWTH * (right - left) / 2, _GROWTH * (bottom - top) / 2
    height, width = image.shape[:2]
    columns = slice(max(0, round(x - half_x)), max(1, min(width, round(x + half_x))))
    return slice(max(0, round(y - half_y)), max(1, min(height, round(y + half_y)))), columns


*_PAINT_NAMES, SWAP = BASELINES
_PAINTED: dict[str, Callable[[Image, AlignedFace], None]] = dict(
    zip(_PAINT_NAMES, (_blur, _pixelate, _black_box), strict=True)
)


def draw_baseline(
    name: str, original: Original, keep: str, engines: Engines, bundle: Bundle
) -> Image:
    """A copy of the photograph with every face treated; the kept region is put back.

    Args:
        name: Out of :data:`vera.evaluation.BASELINES`. ``swap`` gives each face the synthetic
            person of the bundle who is nearest in skin, age, sex and direction of view: no
            inversion, no gate.
        original: The photograph.
        keep: Name of a region, or ``none``.
        engines: Runs the generator.
        bundle: The synthetic people.

    Raises:
        RefusedError: ``region-not-found``, or a face that cannot be swapped.
    """
    if keep != "none" and keep not in original.regions:
        raise RefusedError("region-not-found", f"The region to keep ({keep}) was not found.")
    image = original.image.copy()
    for face in original.faces:
        if name == SWAP:
            image = _swapped(image, face, engines, bundle)
        else:
            _PAINTED[name](image, face)
    if keep != "none":
        kept = original.regions[keep]
        image[kept] = original.image[kept]
    return image


def _swapped(image: Image, face: AlignedFace, engines: Engines, bundle: Bundle) -> Image:
    """The nearest synthetic person laid over the face: aligned, matched in tone, blended."""
    bank = bundle.identities
    expression = bank.mean[high_level_row("expression")]
    wanted = Appearance(face.skin, face.female, face.age, face.yaw, expression, face.embedding)
    nearest = candidates(bank, wanted, 1, unlikeness=0.0, traits=(*LASTING, "yaw"))[0]
    outputs = engines.run("generator", latent=bank.codes[nearest][None])
    labels = to_labels(probabilities(outputs["segmentation"]))
    generated = split(to_image(outputs["image"])).crop
    crop, mask = fit_face(generated, labels, face.crop, face.labels)
    nothing = np.zeros(face.box.shape, np.bool_)
    return compose(image, Replacement(crop, mask, face.matrix, face.box, nothing), seed=0)
