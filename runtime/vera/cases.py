"""What is to be done: photographs, folders and tables become cases, one per person.

Everything that can be wrong with the request is found here, before the first photograph is read: a
job of hours must not fail on its last row. Messages count arguments and rows instead of repeating
file names, which often hold a person's name.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vera.errors import UsageError
from vera.keep import Keep

# Taken from a folder as photographs. Formats that are not read yet (HEIC, JPEG 2000 ...) are among
# them: such a photograph has to be refused with a sentence, not passed over.
_READ = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")
)
_NOT_READ = frozenset((".heic", ".heif", ".avif", ".jp2", ".jxl"))
PHOTO_SUFFIXES = _READ | _NOT_READ
_REQUIRED_COLUMNS = ("case", "photo")
_OPTIONAL_COLUMNS = ("keep", "mask")


@dataclass(frozen=True, slots=True)
class ListedCase:
    """The photographs of one person.

    Attributes:
        label: What the user calls it: a folder's name or a table's cell. It may name the person, so
            it is shown or written only with ``--names original``.
        photos: At least one file.
        keep: One value of ``--keep`` per photograph.
    """

    label: str
    photos: tuple[Path, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseList:
    """All cases of a job, in the order in which they are done.

    Attributes:
        cases: At least one.
        skipped: Entries of the folder that were passed over: hidden, no photographs, or nested
            deeper.
        nested: Whether every case gets a folder of its own in the output.
    """

    cases: tuple[ListedCase, ...]
    skipped: int = 0
    nested: bool = True

    @property
    def photo_count(self) -> int:
        """Photographs in all cases together."""
        return sum(len(case.photos) for case in self.cases)


def collect_cases(
    inputs: Sequence[Path], *, keep: str, out: Path, table: Path | None = None
) -> CaseList:
    """Turn the arguments of the command line into cases.

    * Several photographs are one case.
    * A folder holds one case per sub-folder; a photograph directly in it is a case of its own.
    * A table (CSV with a header: ``case,photo`` and, if wanted, ``keep`` and ``mask``) has one
      photograph per row; relative paths start at the folder, if one is given, or else beside the
      table.

    Args:
        inputs: The positional arguments.
        keep: Value of ``--keep``, for every photograph that the table gives none.
        out: The output folder, which must not lie inside the folder of cases.
        table: Value of ``--cases``.

    Raises:
        UsageError: The request makes no sense; nothing was read but the table.
    """
    if table is not None:
        found = _from_table(table, _table_base(inputs, table), keep)
    elif not inputs:
        raise UsageError("Nothing to anonymise: give photographs, a folder of cases, or --cases.")
    elif len(inputs) == 1 and inputs[0].is_dir():
        found = _from_folder(inputs[0], keep, out)
    else:
        found = _from_photos(inputs, keep)
    for value in dict.fromkeys(value for case in found.cases for value in case.keep):
        Keep.parse(value)
    return found


def _from_photos(inputs: Sequence[Path], keep: str) -> CaseList:
    for number, path in enumerate(inputs, 1):
        if path.is_dir():
            raise UsageError(
                f"Argument {number} is a folder among several arguments; give photographs of one "
                "person, or one folder of cases alone."
            )
        if not path.exists():
            raise UsageError(f"Argument {number} does not exist; check the path of the photograph.")
    photos = tuple(inputs)
    return CaseList((ListedCase(inputs[0].stem, photos, (keep,) * len(photos)),), nested=False)


def _from_folder(folder: Path, keep: str, out: Path) -> CaseList:
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            "The output folder lies inside the folder of cases and would become a case of the next "
            "run; choose another --out."
        )
    cases: list[ListedCase] = []
    skipped = 0
    for entry in _sorted(folder):
        if entry.is_dir() and not _hidden(entry):
            inside = _sorted(entry)
            photos = tuple(path for path in inside if _is_photo(path))
            skipped += len(inside) - len(photos)
            if photos:
                cases.append(ListedCase(entry.name, photos, (keep,) * len(photos)))
        elif _is_photo(entry):
            cases.append(ListedCase(entry.stem, (entry,), (keep,)))
        else:
            skipped += 1
    if not cases:
        raise UsageError(
            f"The folder holds no photographs ({skipped} other entries); expected one sub-folder "
            "of photographs per case, with endings such as .jpg, .png or .tif."
        )
    return CaseList(tuple(cases), skipped)


def _sorted(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"A folder of cases cannot be listed ({error.strerror}); check its permissions."
        ) from error


def _hidden(path: Path) -> bool:
    return path.name.startswith((".", "__MACOSX"))


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not _hidden(path) and not path.is_dir()


def _table_base(inputs: Sequence[Path], table: Path) -> Path:
    if not inputs:
        return table.parent
    if len(inputs) > 1 or not inputs[0].is_dir():
        raise UsageError(
            "With --cases the photographs come from the table; give at most one folder beside it."
        )
    return inputs[0]


def _from_table(table: Path, base: Path, keep: str) -> CaseList:
    photos: dict[str, list[Path]] = {}
    keeps: dict[str, list[str]] = {}
    for number, row in _rows(table):
        label = row["case"]
        photo = base / row["photo"]
        if not label or not row["photo"]:
            raise UsageError(f"Row {number} of the table lacks its case or its photo; fill it in.")
        if not photo.is_file():
            raise UsageError(
                f"The photo in row {number} of the table does not exist or is no file; paths are "
                "relative to the folder given, or else to the table."
            )
        photos.setdefault(label, []).append(photo)
        keeps.setdefault(label, []).append(_row_keep(row, number, base, keep))
    if not photos:
        raise UsageError("The table has no rows; give one photo per row under 'case,photo'.")
    return CaseList(tuple(ListedCase(k, tuple(v), tuple(keeps[k])) for k, v in photos.items()))


def _row_keep(row: dict[str, str], number: int, base: Path, keep: str) -> str:
    if not row["mask"]:
        return row["keep"] or keep
    if row["keep"]:
        raise UsageError(f"Row {number} of the table has both keep and mask; leave one empty.")
    mask = base / row["mask"]
    if not mask.is_file():
        raise UsageError(f"The mask in row {number} of the table does not exist or is no file.")
    return str(mask)


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows, numbered as in a spreadsheet (the header is 1), with all columns, cells stripped."""
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
