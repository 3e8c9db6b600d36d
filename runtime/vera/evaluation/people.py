"""Who is in the folder: photographs grouped by person."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from vera.batch.cases import collect_cases
from vera.errors import UsageError

PairsBy = Literal["folder", "prefix"]


@dataclass(frozen=True, slots=True)
class Person:
    """The photographs of one person.

    Attributes:
        number: Place in the folder, from 1; stands for the person in every file that is written.
        photos: Files, at least one.
    """

    number: int
    photos: tuple[Path, ...]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs of photographs of this person, as places in ``photos``."""
        return tuple(combinations(range(len(self.photos)), 2))


def collect_people(
    source: Path, *, pairs_by: PairsBy = "folder", out: Path, limit: int | None = None
) -> tuple[Person, ...]:
    """Groups photographs by person.

    Args:
        source: A folder, or a table (CSV) with the columns ``case,photo``.
        pairs_by: In a folder: ``"folder"`` takes each sub-folder as one person, ``"prefix"`` the
            photographs directly in it whose names are equal before the first underscore.
        out: The output folder, which must not lie inside the source.
        limit: Takes the first so many people only.

    Raises:
        UsageError: There are no photographs, or the table makes no sense.
    """
    if not source.exists():
        raise UsageError(
            "The folder to evaluate does not exist; give a folder of photographs or a table."
        )
    if source.is_dir():
        listed = collect_cases([source], keep="none", out=out)
    else:
        listed = collect_cases([], keep="none", out=out, table=source)
    groups: dict[str, list[Path]] = {}
    for place, case in enumerate(listed.cases):
        loose = source.is_dir() and len(case.photos) == 1 and case.photos[0].parent == source
        by_prefix = pairs_by == "prefix" and loose
        # The place keeps apart what has one name by chance: a.jpg beside a folder called a.
        name = f"prefix {case.label.split('_')[0]}" if by_prefix else f"case {place}"
        groups.setdefault(name, []).extend(case.photos)
    people = [Person(number, tuple(photos)) for number, photos in enumerate(groups.values(), 1)]
    return tuple(people[:limit])


def require_pairs(people: tuple[Person, ...]) -> None:
    """Raises a UsageError if nobody has two photographs."""
    if not any(person.pairs for person in people):
        raise UsageError(
            "Nobody in the folder has two photographs, which paired mode and calibration need; "
            "use one sub-folder per person, or --pairs-by prefix."
        )
