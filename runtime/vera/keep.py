"""What is to be kept: the user's request."""

from dataclasses import dataclass
from pathlib import Path

from vera.contract import CLASSES
from vera.errors import UsageError


def class_numbers(*names: str) -> tuple[int, ...]:
    """The numbers of these classes."""
    return tuple(CLASSES.index(name) for name in names)


# Worn glasses belong to the kept eyes: through them the eyes are seen.
REGIONS: dict[str, tuple[int, ...]] = {
    "mouth": class_numbers("mouth"),
    "nose": class_numbers("nose"),
    "eyes": class_numbers("eye", "glasses"),
    "brows": class_numbers("brow"),
}


@dataclass(frozen=True, slots=True)
class Keep:
    """The region to keep.

    Attributes:
        regions: Names out of :data:`REGIONS`, in its order, each once.
        mask: A mask file instead.
    """

    regions: tuple[str, ...] = ()
    mask: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """Read ``none``, region names joined by commas or plus signs, or the path of a mask file.

        Raises:
            UsageError: Neither a known name nor an existing file.
        """
        names = [name.strip().lower() for name in text.replace("+", ",").split(",")]
        names = [name for name in names if name]
        if names == ["none"]:
            return cls()
        if names and all(name in REGIONS for name in names):
            return cls(tuple(name for name in REGIONS if name in names))
        if text.strip() and Path(text).is_file():
            return cls(mask=Path(text))
        unknown = next((name for name in names if name not in REGIONS), text)
        raise UsageError(
            f"'{unknown}' is no region to keep; use none, {', '.join(REGIONS)}, several of them "
            "joined by commas, or the path of a mask file."
        )

    @property
    def name(self) -> str:
        """``none``, ``mask`` or the regions joined by commas."""
        if self.mask is not None:
            return "mask"
        return ",".join(self.regions) or "none"

    @property
    def nothing(self) -> bool:
        """Whether all of the face is replaced."""
        return not self.regions and self.mask is None

    @property
    def classes(self) -> tuple[int, ...]:
        """The kept classes; none for a mask file."""
        return tuple(part for name in self.regions for part in REGIONS[name])
