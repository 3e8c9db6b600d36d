"""Which photographs an output folder was made of: asked of its journal, which knows their bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from vera.batch.cases import collect_cases
from vera.batch.journal import JOURNAL_NAME, Entry, Journal, content_digest
from vera.batch.output import locked
from vera.errors import UsageError


@dataclass(frozen=True, slots=True)
class Originals:
    """Photographs by the name of their output.

    Attributes:
        by_output: The photograph of each output that was recognised.
        unmatched: Photographs given that the journal does not know.
    """

    by_output: dict[str, Path]
    unmatched: int


NONE = Originals({}, 0)


def find_originals(out: Path, places: Sequence[Path]) -> Originals:
    """Match photographs with the outputs in ``out`` by the journal's keyed hashes of their bytes.

    Args:
        out: The output folder.
        places: What was given to ``vera anonymize``: photographs of one person, one folder of
            cases, or the table (``.csv``).

    Raises:
        UsageError: No journal, or the places make no sense.
        OutputError: The journal is damaged, or a job is writing to it.
    """
    if not (out / JOURNAL_NAME).exists():
        raise UsageError(
            f"The output folder has no {JOURNAL_NAME}, by which originals are recognised; name the "
            "folder that vera anonymize wrote to."
        )
    table = places[0] if len(places) == 1 and places[0].suffix.lower() == ".csv" else None
    listed = collect_cases([] if table else places, keep="none", out=out, table=table)
    contents = {photo: content_digest(photo) for case in listed.cases for photo in case.photos}
    with locked(out):
        journal = Journal.open(out)
    by_output: dict[str, Path] = {}
    for case in listed.cases:
        for photos in _orders(case.photos):
            for entry in _entries(journal, [contents[photo] or b"" for photo in photos]):
                for place, stem in enumerate(entry.stems):  # variants repeat the photographs
                    by_output[stem] = photos[place % len(photos)]
    known = set(by_output.values())
    return Originals(by_output, len(contents.keys() - known))


def _orders(photos: tuple[Path, ...]) -> list[tuple[Path, ...]]:
    """The case as listed, its photographs as cases of their own, and every ordered pair of it."""
    orders = [photos, *((photo,) for photo in photos), *permutations(photos, 2)]
    return list(dict.fromkeys(orders))


def _entries(journal: Journal, contents: Sequence[bytes]) -> list[Entry]:
    """All cases of these bytes; a job may hold the same photographs several times."""
    found: list[Entry] = []
    while entry := journal.find(journal.case_key(contents, len(found) + 1)):
        found.append(entry)
    return found
