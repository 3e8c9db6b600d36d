"""The table of cases (CSV): its rows, checked for form."""

import csv
from collections.abc import Iterator
from pathlib import Path

from vera.errors import UsageError

_REQUIRED_COLUMNS = ("case", "photo")
_OPTIONAL_COLUMNS = ("keep", "mask")


def table_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with their numbers.

    Args:
        table: CSV file in UTF-8 with a header; commas or semicolons.

    Yields:
        The row's number as in a spreadsheet (the header is 1), and its cells, stripped: ``case``,
        ``photo``, ``keep`` and ``mask``, empty where the table has none.

    Raises:
        UsageError: It cannot be read, or its header or a row is not as expected.
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark. Splitting at newlines alone keeps quoted
        # ones.
        lines = table.read_text("utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The table of cases cannot be read as UTF-8 text: {error}.") from error
    # Spreadsheets of half of Europe separate by semicolons.
    delimiter = ";" if lines and ";" in lines[0] else ","
    reader = csv.DictReader(lines, delimiter=delimiter, restkey="")
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    unknown = [name for name in columns if name not in _REQUIRED_COLUMNS + _OPTIONAL_COLUMNS]
    if unknown or not set(_REQUIRED_COLUMNS) <= set(columns):
        raise UsageError(
            f"The table's header must be case,photo with keep and mask as wanted, got "
            f"{','.join(columns) or 'an empty file'}."
        )
    for row in reader:
        if row.get(""):
            raise UsageError(f"Row {reader.line_num} of the table has more cells than its header.")
        cells = {name: (row.get(name) or "").strip() for name in columns}
        yield reader.line_num, dict.fromkeys(_OPTIONAL_COLUMNS, "") | cells
