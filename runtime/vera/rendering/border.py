"""Where the generated picture has to turn softly into the photograph, and what that leaves."""

import numpy as np
import numpy.typing as npt

from vera.contract import CLASSES, CROP_SIZE
from vera.pixels.align import Matrix
from vera.pixels.morphology import disc
from vera.region.replaced import HAIR_RIM, Replacing, kept_hair, require_face

# Hair and neck that go on beyond the crop turn into the photograph's over this width. Crop pixels.
_FADE = 20

# Crop pixels around the old face that are replaced in full, however near the crop's sides they lie.
_RIM = 3

# Share of a side of the crop below which a class on it is a speck or a stray strand.
_SIDE_SHARE = 0.02

_HAIR, _HAT, _NECK = (CLASSES.index(name) for name in ("hair", "hat", "neck"))


def border_share(
    labels: npt.NDArray[np.uint8],
    replacing: Replacing,
    matrix: Matrix,
    photo_shape: tuple[int, ...],
) -> npt.NDArray[np.float32] | None:
    """How much of the generated picture is shown, for ``compose.Replacement``.

    Args:
        labels: uint8 [s, s], the photograph's.
        replacing: What is replaced.
        matrix: float64 [2, 3], photo pixels to crop pixels.
        photo_shape: Height and width of the photograph first.

    Returns:
        float32 [s, s], 1 on the old face and where nothing is near, falling to 0 at each side
        beyond which the photograph goes on, and in hair kept before a new background. None if
        only the face is replaced, or the crop is all there is.

    Raises:
        RefusedError: ``face-unclear``: hardly any face in the part map.
    """
    import cv2

    if replacing.background:
        outside = (~kept_hair(labels, replacing)).astype(np.uint8)
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5)
        share = np.clip(distance / np.float32(HAIR_RIM), 0, 1).astype(np.float32)
    elif replacing.whole or (replacing.tone and not replacing.hair):
        return None
    else:
        share = _faded(_open_sides(matrix, photo_shape))
    face = cv2.dilate(require_face(labels).astype(np.float32), disc(_RIM))
    return np.asarray(np.maximum(share, cv2.GaussianBlur(face, (0, 0), 1.0)), np.float32)


def left_beyond(
    labels: npt.NDArray[np.uint8],
    replacing: Replacing,
    matrix: Matrix,
    photo_shape: tuple[int, ...],
) -> list[str]:
    """Warnings for the report: what of the old person stays although it was to be replaced.

    Args:
        labels: uint8 [s, s], the photograph's.
        replacing: What is replaced.
        matrix: float64 [2, 3], photo pixels to crop pixels.
        photo_shape: Height and width of the photograph first.
    """
    told = []
    sides = [] if replacing.whole else _open_sides(matrix, photo_shape)
    if replacing.hair and _reaches(labels == _HAIR, sides):
        told.append(
            "Hair goes on beyond the face's crop: there it is as photographed; use frame=crop to "
            "leave it out."
        )
    if replacing.hair and (labels == _HAT).mean() > _SIDE_SHARE:
        told.append("A hat was found: it is as photographed, and the hair under it is new.")
    if not replacing.tone and _reaches(labels == _NECK, sides):
        told.append(
            "The neck goes on beyond the face's crop: there the skin has its old tone, as have "
            "hands and arms."
        )
    return told


def hair_cut(labels: npt.NDArray[np.uint8]) -> bool:
    """Whether hair of a generated picture reaches a side of it, so that it would end there.

    Args:
        labels: uint8 [s, s].
    """
    return _reaches(labels == _HAIR, list(_SIDES))


# A point just beyond the middle of each side of the crop.
_MIDDLE, _FAR = (CROP_SIZE - 1) / 2, CROP_SIZE + 3.0
_SIDES = {
    "top": (_MIDDLE, -4.0),
    "bottom": (_MIDDLE, _FAR),
    "left": (-4.0, _MIDDLE),
    "right": (_FAR, _MIDDLE),
}


def _open_sides(matrix: Matrix, photo_shape: tuple[int, ...]) -> list[str]:
    """Sides of the crop beyond which the photograph goes on."""
    found = []
    for name, outside in _SIDES.items():
        x, y = np.linalg.solve(matrix[:, :2], np.array(outside) - matrix[:, 2])
        if 0 <= x < photo_shape[1] and 0 <= y < photo_shape[0]:
            found.append(name)
    return found


def _reaches(mask: npt.NDArray[np.bool_], sides: list[str]) -> bool:
    rims = {"top": mask[:3], "bottom": mask[-3:], "left": mask[:, :3], "right": mask[:, -3:]}
    return any(float(rims[name].mean()) > _SIDE_SHARE for name in sides)


def _faded(sides: list[str]) -> npt.NDArray[np.float32]:
    """1 in the middle, falling to 0 at these sides."""
    # The outermost two pixels are never replaced (generated_mask); from there it rises.
    ramp = np.clip((np.arange(CROP_SIZE, dtype=np.float32) - 1) / _FADE, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    falling = {
        "top": ramp[:, None],
        "bottom": ramp[::-1, None],
        "left": ramp[None],
        "right": ramp[None, ::-1],
    }
    share = np.ones((CROP_SIZE, CROP_SIZE), np.float32)
    for name in sides:
        share *= falling[name]
    return share
