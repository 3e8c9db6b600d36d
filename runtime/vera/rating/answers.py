"""Reading the key and the raters' answers; every slip is told with its row."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vera.errors import UsageError
from vera.rating.scale import Scale
from vera.rating.sheet import ANSWER_COLUMNS, KEY_COLUMNS


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What an item is: its rater, case, output and condition, and its row in the key."""

    rater: str
    case: str
    output: str
    kind: str
    row: int


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a study: its scale, and its items by name."""

    scale: Scale
    items: Mapping[str, KeyRow]


@dataclass(frozen=True, slots=True)
class Answers:
    """One rater's answers: index into the scale's values, by item."""

    rater: str
    values: Mapping[str, int]


def read_key(path: Path) -> Key:
    """Read ``key.csv``.

    Raises:
        UsageError: It cannot be read or is no key.
    """
    items: dict[str, KeyRow] = {}
    scales = set()
    for number, row in _rows(path, "The key", KEY_COLUMNS):
        if row["item"] in items:
            raise UsageError(f"Row {number} of the key repeats an item; take the key as written.")
        items[row["item"]] = KeyRow(row["rater"], row["case"], row["output"], row["kind"], number)
        scales.add(row["scale"])
    if len(scales) != 1:
        raise UsageError(
            f"The key names {len(scales)} scales instead of one; take the key as it was written."
        )
    return Key(Scale.parse(scales.pop()), items)


def read_answers(path: Path, number: int, key: Key) -> Answers:
    """Read one rater's answers.

    Args:
        path: A table with the columns ``item,answer,comment``; the last may be missing.
        number: Its place among the arguments, from 1, for messages.
        key: Of the study.

    Raises:
        UsageError: An item is unknown, repeated, not answered, missing, or of another rater.
    """
    name = f"Answers {number}"
    raters: set[str] = set()
    values: dict[str, int] = {}
    for row_number, row in _rows(path, name, ANSWER_COLUMNS[:2]):
        item, answer = row["item"], row["answer"]
        if item not in key.items:
            told = "has an item that is not in the key; give the key and the sheets of one study"
        elif item in values:
            told = "repeats an item; leave one answer to each"
        elif not answer:
            told = "has no answer; every item must be answered"
        elif answer not in key.scale.values:
            told = f"has an answer that is not on the scale {key.scale.text}; correct it"
        elif raters and key.items[item].rater not in raters:
            told = "is of another rater's sheet; give each rater's answers as a file of its own"
        else:
            raters.add(key.items[item].rater)
            values[item] = key.scale.values.index(answer)
            continue
        raise UsageError(f"{name}, row {row_number} {told}.")
    if not values:
        raise UsageError(f"{name}: the file holds no answers; give a filled-in sheet.")
    rater = raters.pop()
    missing = [
        row.row for item, row in key.items.items() if row.rater == rater and item not in values
    ]
    if missing:
        raise UsageError(
            f"{name}: {len(missing)} items of the sheet are missing, the first is row {missing[0]} "
            "of the key; every item must be answered."
        )
    return Answers(rater, values)


def read_all(paths: list[Path], key: Key) -> tuple[Answers, ...]:
    """Read several raters' answers, in the order of the key's raters.

    Raises:
        UsageError: As in :func:`read_answers`, or two files are of one rater.
    """
    found: dict[str, Answers] = {}
    for number, path in enumerate(paths, 1):
        answers = read_answers(path, number, key)
        if answers.rater in found:
            raise UsageError(
                f"Answers {number} is of a rater whose answers were given before; give one file "
                "for each rater."
            )
        found[answers.rater] = answers
    order = list(dict.fromkeys(row.rater for row in key.items.values()))
    return tuple(sorted(found.values(), key=lambda answers: order.index(answers.rater)))


def _rows(path: Path, name: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Rows that are not empty, with their number as a spreadsheet shows it.

    Spreadsheets of some languages write semicolons and a byte order mark; both are taken.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name} cannot be read; give a table in UTF-8 with the columns {','.join(columns)}."
        ) from error
    lines = text.splitlines()
    delimiter = ";" if lines and ";" in lines[0] else ","
    table = csv.reader(lines, delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(table, [])]
    if not set(columns) <= set(header):
        raise UsageError(
            f"{name} must have the columns {','.join(columns)} in its first row; take the file as "
            "it was written."
        )
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in enumerate(table, 2)]
    return [
        (number, dict(zip(header, cells + [""] * len(header), strict=False)))
        for number, cells in rows
        if any(cells)
    ]
