"""A case: the photographs of one person with what is asked of them, read and checked."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from vera.errors import PhotoError, RefusedError, ShapeError, UsageError
from vera.files.photo import IN_MEMORY, read_mask, read_photo
from vera.key import CaseKey, DrawKey, require_drawn
from vera.request.keep import Keep
from vera.settings import Settings

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
# A text, a mask file or the bytes of one, a mask bool [h, w], or a polygon [p, 2] of x y.
KeepLike = str | Path | bytes | Keep | npt.NDArray[np.generic]
# A file, the bytes of one, or an image.
PhotoLike = str | Path | bytes | Image

SEED_LIMIT = 2**63


@dataclass(frozen=True, slots=True, eq=False)
class CasePhoto:
    """One photograph, or why it could not be read.

    Attributes:
        image: uint8 [h, w, 3]; None if refused.
        regions: Names of the regions to keep, ``("mask",)`` or ``("polygon",)``, empty for none.
        keep: The request; a mask already read stands in ``mask``.
        mask: bool [h, w], True where the photograph is kept; None without a mask.
        warnings: Sentences of the reader.
        refusal: Why there is no image.
    """

    image: Image | None
    regions: tuple[str, ...]
    keep: Keep
    mask: Mask | None = None
    warnings: tuple[str, ...] = ()
    refusal: RefusedError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Photographs of one person, and how they are to be anonymised.

    Attributes:
        photos: As they were read.
        seed: Of all draws; 0 with a key.
        settings: The controls.
        key: Draws the patient's new identity in the seed's place.
    """

    photos: tuple[CasePhoto, ...]
    seed: int
    settings: Settings
    key: DrawKey | None = None

    @property
    def paired(self) -> bool:
        """Whether several photographs share one new identity."""
        return len(self.photos) > 1


def new_seed() -> int:
    """An unpredictable seed: who does not know it cannot repeat the draw."""
    return secrets.randbelow(SEED_LIMIT)


def go_on() -> None:
    """Nobody ends the case early."""


def open_case(
    photos: Sequence[PhotoLike],
    *,
    keep: KeepLike | Sequence[KeepLike],
    seed: int | None,
    settings: Settings,
    key: CaseKey | DrawKey | None = None,
    check: Callable[[], None] = go_on,
) -> Case:
    """Checks a request and reads its photographs.

    A photograph or mask that cannot be read becomes a refusal of that photograph alone.

    Args:
        photos: Of one person.
        keep: One value for all photographs, or one for each.
        seed: Of all draws; None takes a new random one.
        settings: The controls.
        key: In the seed's place.
        check: Called before each photograph is read; raises if the case is not to go on.

    Raises:
        UsageError: The request makes no sense; nothing was read.
        ShapeError: An array is not uint8 [h, w, 3].
    """
    if isinstance(photos, (str, Path, bytes, np.ndarray)) or len(photos) == 0:
        raise UsageError(
            "A case needs a list of at least one photograph; pass [photo] for a single one."
        )
    if key is not None and seed is not None:
        raise UsageError("A case key and a seed both decide the new identity; give one of them.")
    if key is not None:
        require_drawn(settings.method)
    if seed is None:
        seed = 0 if key is not None else new_seed()
    if not 0 <= seed < SEED_LIMIT:
        raise UsageError(
            f"seed must be from 0 to {SEED_LIMIT - 1}, got {seed}; choose another one."
        )
    requests = _requests(keep, len(photos))
    if settings.hair == "regenerate" and any("hair" in keep.regions for keep, _ in requests):
        raise UsageError(
            "The hair cannot be kept and regenerated at once; leave it out of keep, or hair at "
            "'keep'."
        )
    read = []
    for photo, request in zip(photos, requests, strict=True):
        check()
        read.append(_open(photo, *request, settings.pixel_limit))
    drawn = key.derived() if isinstance(key, CaseKey) else key
    return Case(tuple(read), seed, settings, drawn)


def _requests(
    keep: KeepLike | Sequence[KeepLike], count: int
) -> list[tuple[Keep, Mask | bytes | None]]:
    """What is kept of each of ``count`` photographs."""
    one = isinstance(keep, (str, Path, bytes, Keep, np.ndarray))
    keeps = [cast(KeepLike, keep)] * count if one else list(cast(Sequence[KeepLike], keep))
    if len(keeps) != count:
        raise UsageError(
            f"keep must be one value or one for each of the {count} photographs, got "
            f"{len(keeps)}; join regions of one photograph by commas, as in 'eyes,brows'."
        )
    return [_request(item) for item in keeps]


def _request(keep: KeepLike) -> tuple[Keep, Mask | bytes | None]:
    if isinstance(keep, (Keep, bytes)):
        return (Keep(), keep) if isinstance(keep, bytes) else (keep, None)
    if isinstance(keep, np.ndarray):
        polygon = keep.ndim == 2 and keep.shape[1] == 2 and keep.dtype != np.bool_
        return (Keep.enclosed(keep), None) if polygon else (Keep(), cast(Mask, keep))
    if isinstance(keep, Path):
        return Keep(mask=keep), None
    return Keep.parse(keep), None


def _open(photo: PhotoLike, keep: Keep, mask: Mask | bytes | None, pixel_limit: int) -> CasePhoto:
    masked = mask is not None or keep.mask is not None
    regions = ("mask",) if masked else ("polygon",) if keep.polygons else keep.regions
    try:
        if isinstance(photo, np.ndarray):
            image, warnings = _checked(photo), tuple[str, ...]()
        else:
            # As a Path: the name in a message must be the very text that is taken out of it.
            photo = photo if isinstance(photo, bytes) else Path(photo)
            opened = read_photo(photo, pixel_limit=pixel_limit)
            image, warnings = opened.image, opened.warnings
    except PhotoError as error:
        named = IN_MEMORY if isinstance(photo, bytes) else photo
        told = _nameless(str(error), named, "The photograph")
        return CasePhoto(None, regions, keep, refusal=RefusedError("unreadable-photo", told))
    try:
        source = mask if isinstance(mask, bytes) else keep.mask
        if source is not None:
            mask = read_mask(source, image.shape[:2], pixel_limit=pixel_limit)
        elif keep.polygons:
            mask = keep.polygon_mask((image.shape[0], image.shape[1]))
        elif mask is not None:
            mask = _checked_mask(cast(Mask, mask), image.shape[:2])
    except PhotoError as error:
        told = _nameless(str(error), keep.mask or IN_MEMORY, "The mask")
        return CasePhoto(None, regions, keep, refusal=RefusedError("unusable-mask", told))
    return CasePhoto(image, regions, keep, mask, warnings)


def _nameless(message: str, path: object, what: str) -> str:
    """The message without the file's name, which often is a patient's: it goes into the report."""
    quoted = f"'{path}'"
    for before, after in (
        (f"{what} {quoted}", what),
        (f"There is no file {quoted}", f"{what} does not exist"),
        (quoted, what),
    ):
        message = message.replace(before, after)
    return message


def _checked(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(
            f"A photograph must be uint8 [h, w, 3] RGB, got {image.dtype} {list(image.shape)}; "
            "convert it first."
        )
    return np.ascontiguousarray(image)


def _checked_mask(mask: Mask, size: tuple[int, ...]) -> Mask:
    if mask.dtype != np.bool_ or mask.shape != size:
        raise PhotoError(
            f"The mask must be bool {list(size)} like its photograph, got {mask.dtype} "
            f"{list(mask.shape)}; "
            "make it anew for this photograph."
        )
    return mask
