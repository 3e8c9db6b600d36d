"""What is to be kept: the user's request."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.contract import CLASSES
from vera.errors import UsageError
from vera.request.polygon import Polygon, checked_polygon, is_polygon, parse_polygons, polygon_mask


def class_numbers(*names: str) -> tuple[int, ...]:
    """The numbers of these classes."""
    return tuple(CLASSES.index(name) for name in names)


# The first class of each must itself be seen. Worn glasses belong to the kept eyes: through them
# the eyes are seen. Earrings belong to the kept ears: cut off at the lobe they would leave a seam
# on the very part that is to be judged.
REGIONS: dict[str, tuple[int, ...]] = {
    "mouth": class_numbers("mouth"),
    "nose": class_numbers("nose"),
    "eyes": class_numbers("eye", "glasses"),
    "brows": class_numbers("brow"),
    "ears": class_numbers("ear", "earring"),
    "skin": class_numbers("skin"),
    "hair": class_numbers("hair"),
}


_LONGEST_WORD = 10  # letters; "eyebrows" and the like
_LONGEST_TEXT = 64_000  # characters; some five thousand corners of polygons


@dataclass(frozen=True, slots=True)
class Keep:
    """The region to keep: named parts, or a mask file, or polygons.

    Attributes:
        regions: Names out of :data:`REGIONS`, in its order, each once.
        mask: A mask file instead.
        polygons: Polygons instead, x y in pixels of the upright photograph.
    """

    regions: tuple[str, ...] = ()
    mask: Path | None = None
    polygons: tuple[Polygon, ...] = ()

    @classmethod
    def parse(cls, text: str, *, files: bool = True) -> "Keep":
        """Read ``none``, region names, the path of a mask file, or polygons.

        Names are joined by commas or plus signs. Polygons are ``polygon:x,y x,y x,y``, several of
        them joined by semicolons.

        Args:
            text: The request.
            files: Whether it may name a mask file: a server must not open what a client names.

        Raises:
            UsageError: Neither known names nor polygons nor an existing file.
        """
        if len(text) > _LONGEST_TEXT:
            raise UsageError(
                f"What to keep takes {len(text)} characters, more than {_LONGEST_TEXT}; give a "
                "mask instead."
            )
        if is_polygon(text):
            return cls(polygons=parse_polygons(text))
        names = [name.strip().lower() for name in text.replace("+", ",").split(",")]
        names = [name for name in names if name]
        if names == ["none"]:
            return cls()
        if names and all(name in REGIONS for name in names):
            return cls(tuple(name for name in REGIONS if name in names))
        if files and _is_file(text):
            return cls(mask=Path(text))
        unknown = next((name for name in names if name not in REGIONS), text)
        # What may be a file's name may be a patient's.
        told = f"'{unknown}'" if _are_words(names) else "What was given, which is no file either,"
        raise UsageError(
            f"{told} is no region to keep; use none, {', '.join(REGIONS)}, several of them "
            "joined by commas, polygon:x,y x,y x,y, or the path of a mask file."
        )

    @classmethod
    def enclosed(cls, points: npt.NDArray[np.generic]) -> "Keep":
        """What one polygon [p, 2] of x y in photo pixels encloses.

        Raises:
            ShapeError: Not [p, 2].
            UsageError: Fewer than three points, or a point that is nowhere.
        """
        return cls(polygons=(checked_polygon(points),))

    @property
    def name(self) -> str:
        """``none``, ``mask``, ``polygon`` or the regions joined by commas."""
        if self.mask is not None:
            return "mask"
        if self.polygons:
            return "polygon"
        return ",".join(self.regions) or "none"

    @property
    def nothing(self) -> bool:
        """Whether all of the face is replaced."""
        return self.name == "none"

    @property
    def classes(self) -> tuple[int, ...]:
        """Classes whose codes stay, too; none for a mask or polygons, which know no classes."""
        return tuple(part for name in self.regions for part in REGIONS[name])

    def polygon_mask(self, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """What the polygons enclose together: bool [h, w] for a photograph of this size.

        Raises:
            PhotoError: One of them lies outside the photograph.
        """
        kept = np.zeros(size, dtype=np.bool_)
        for polygon in self.polygons:
            kept |= polygon_mask(polygon, size)
        return kept


def _are_words(names: list[str]) -> bool:
    """Whether these can only be misspelt regions: single short words."""
    return all(name.isalpha() and len(name) <= _LONGEST_WORD for name in names)


def _is_file(text: str) -> bool:
    try:
        return bool(text.strip()) and Path(text).is_file()
    except OSError:  # too long for a name, as mistyped polygons are
        return False
