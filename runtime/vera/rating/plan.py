"""Who sees what in which order.

Each rater sees every photograph once per condition, in two rounds: which condition comes first is
drawn, for half of the photographs the one and for half the other, and between the two showings of a
photograph lie at least half as many items as there are photographs, so that the second answer is
less a memory of the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["anonymized", "original-region"]

# No vowels and no digits: neither words nor what a spreadsheet takes for a number.
_LETTERS = "bcdfghjkmnpqrstvwxz"
_NAME_LENGTH = 7


@dataclass(frozen=True, slots=True)
class Item:
    """One showing.

    Attributes:
        rater: From 1.
        name: Drawn; unique in the study.
        output: Name of the output in its folder.
        kind: The condition.
    """

    rater: int
    name: str
    output: str
    kind: Kind


def plan(subjects: Mapping[str, Sequence[Kind]], raters: int, draw: Random) -> tuple[Item, ...]:
    """All items of a study, each rater's in the order in which they are shown.

    Args:
        subjects: The conditions of each output.
        raters: How many.
        draw: Source of chance.
    """
    names: set[str] = set()
    items = []
    for rater in range(1, raters + 1):
        for output, kind in _order(subjects, draw):
            while (name := "".join(draw.choices(_LETTERS, k=_NAME_LENGTH))) in names:
                pass
            names.add(name)
            items.append(Item(rater, name, output, kind))
    return tuple(items)


def _order(subjects: Mapping[str, Sequence[Kind]], draw: Random) -> list[tuple[str, Kind]]:
    twice = [output for output, kinds in subjects.items() if len(kinds) == 2]
    draw.shuffle(twice)
    first = {output: place % 2 for place, output in enumerate(twice)}
    draw.shuffle(twice)
    middle = (len(twice) + 1) // 2
    halves = twice[:middle], twice[middle:]
    order: list[tuple[str, Kind]] = []
    for round_ in (0, 1):
        for half in halves:
            shown = draw.sample(half, len(half))
            order += [(output, subjects[output][first[output] ^ round_]) for output in shown]
    for output, kinds in subjects.items():
        if len(kinds) == 1:
            order.insert(draw.randint(0, len(order)), (output, kinds[0]))
    return order
