"""What is to be done: photographs, folders, tables and lists become cases, one per person.

Everything that can be wrong with the request is found here, before the first photograph is read: a
job of hours must not fail on its last row. Messages count arguments, rows and lines instead of
repeating file names, which often hold a person's name.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vera.errors import UsageError
from vera.files.table import table_rows
from vera.key import canonical_case_id
from vera.request.keep import Keep

# Taken from a folder as photographs. Formats that are not read yet (HEIC, JPEG 2000 ...) are among
# them: such a photograph has to be refused with a sentence, not passed over.
_READ = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")
)
_NOT_READ = frozenset((".heic", ".heif", ".avif", ".jp2", ".jxl"))
PHOTO_SUFFIXES = _READ | _NOT_READ

STANDARD_INPUT = Path("-")


@dataclass(frozen=True, slots=True)
class ListedCase:
    """The photographs of one person.

    Attributes:
        label: What the user calls it: a folder's name or a table's cell. It may name the person, so
            it is shown or written only with ``--names original``.
        photos: At least one file.
        keep: One value of ``--keep`` per photograph.
        case_id: What a keyed identity is derived from: the name of the case's own folder, the
            table's cell or ``--case-id``. None for loose photographs: a camera's file names come
            again, and two patients would get one identity.
    """

    label: str
    photos: tuple[Path, ...]
    keep: tuple[str, ...]
    case_id: str | None = None


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
    inputs: Sequence[Path],
    *,
    keep: str | Sequence[str],
    out: Path,
    table: Path | None = None,
    case_id: str | None = None,
    keyed: bool = False,
    read_list: Callable[[], bytes] | None = None,
) -> CaseList:
    """Turn the arguments of the command line into cases.

    * Several photographs are one case.
    * A folder holds one case per sub-folder; a photograph directly in it is a case of its own.
    * A table (CSV with a header: ``case,photo`` and, if wanted, ``keep`` and ``mask``) has one
      photograph per row; relative paths start at the folder, if one is given, or else beside the
      table.
    * ``-`` stands for a list: one photograph or one folder of a case's photographs per line, a
      case each; blank lines and lines that begin with ``#`` are passed over. A list that contains
      NULs is separated by them alone, as ``find -print0`` writes it.

    Args:
        inputs: The positional arguments.
        keep: Value of ``--keep``, for every photograph that the table gives none; several values
            are for as many photographs given as arguments.
        out: The output folder, which must not lie inside the folder of cases.
        table: Value of ``--cases``.
        case_id: Value of ``--case-id``, for photographs given as arguments.
        keyed: Whether identities are derived from the cases' ids.
        read_list: Reads the list for ``-``.

    Raises:
        UsageError: The request makes no sense; nothing was read but the table or list.
    """
    keeps = (keep,) if isinstance(keep, str) else tuple(keep)
    photographs = table is None and not any(path.is_dir() or _is_list(path) for path in inputs)
    if len(keeps) > 1 and not photographs:
        raise UsageError(
            f"Several --keep are for as many photographs given as arguments, got {len(keeps)} with "
            "a folder, table or list; give one, or a table with a column keep."
        )
    if case_id is not None and not photographs:
        raise UsageError(
            "--case-id is for photographs given as arguments; cases of a folder, table or list "
            "have ids of their own."
        )
    if table is not None:
        found = _from_table(table, _table_base(inputs, table), keeps[0])
    elif not inputs:
        raise UsageError("Nothing to anonymise: give photographs, a folder of cases, or --cases.")
    elif len(inputs) == 1 and _is_list(inputs[0]) and read_list is not None:
        found = _from_list(read_list(), keeps[0], out)
    elif len(inputs) == 1 and inputs[0].is_dir():
        found = _from_folder(inputs[0], keeps[0], out)
    else:
        found = _from_photos(inputs, keeps, case_id)
    for value in dict.fromkeys(value for case in found.cases for value in case.keep):
        Keep.parse(value)
    if keyed:
        _check_ids(found.cases)
    return found


def _check_ids(cases: Sequence[ListedCase]) -> None:
    for number, case in enumerate(cases, 1):
        if case.case_id is None:  # told by the job
            continue
        try:
            canonical_case_id(case.case_id)
        except UsageError as error:
            raise UsageError(f"Case {number} of the job: {error}") from error


def _is_list(path: Path) -> bool:
    return path == STANDARD_INPUT


def _from_photos(inputs: Sequence[Path], keeps: tuple[str, ...], case_id: str | None) -> CaseList:
    for number, path in enumerate(inputs, 1):
        if path.is_dir():
            raise UsageError(
                f"Argument {number} is a folder among several arguments; give photographs of one "
                "person, or one folder of cases alone."
            )
        if not path.exists():
            raise UsageError(f"Argument {number} does not exist; check the path of the photograph.")
    photos = tuple(inputs)
    if len(keeps) == 1:
        keeps *= len(photos)
    if len(keeps) != len(photos):
        raise UsageError(
            f"Got {len(keeps)} --keep for {len(photos)} photographs; give one for all or one for "
            "each, and join regions of one photograph by commas, as in 'eyes,brows'."
        )
    return CaseList((ListedCase(inputs[0].stem, photos, keeps, case_id),), nested=False)


def _from_folder(folder: Path, keep: str, out: Path) -> CaseList:
    _keep_out(folder, out)
    cases: list[ListedCase] = []
    skipped = 0
    for entry in _sorted(folder):
        if entry.is_dir() and not _hidden(entry):
            case, passed = _folder_case(entry, keep)
            skipped += passed
            if case is not None:
                cases.append(case)
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


def _keep_out(folder: Path, out: Path) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            "The output folder lies inside the folder of cases and would become a case of the next "
            "run; choose another --out."
        )


def _folder_case(folder: Path, keep: str) -> tuple[ListedCase | None, int]:
    """The case of a folder, if it holds photographs, and how many other entries it holds."""
    inside = _sorted(folder)
    photos = tuple(path for path in inside if _is_photo(path))
    skipped = len(inside) - len(photos)
    if not photos:
        return None, skipped
    # The name of "." or "a/.." is known once the path is resolved.
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    return ListedCase(name, photos, (keep,) * len(photos), name), skipped


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


def _from_list(text: bytes, keep: str, out: Path) -> CaseList:
    cases: list[ListedCase] = []
    skipped = 0
    for number, line in enumerate(text.split(b"\0" if b"\0" in text else b"\n"), 1):
        name = line if b"\0" in text else line.strip()
        if not name or (b"\0" not in text and name.startswith(b"#")):
            continue
        path = Path(os.fsdecode(name))  # as the system gives it: names need not be UTF-8
        if path.is_dir():
            _keep_out(path, out)
            case, passed = _folder_case(path, keep)
            skipped += passed
            if case is None:
                raise UsageError(
                    f"Line {number} of the list is a folder without photographs; list photographs, "
                    "or folders with the photographs of one person each."
                )
            cases.append(case)
        elif path.exists():
            cases.append(ListedCase(path.stem, (path,), (keep,)))
        else:
            raise UsageError(
                f"Line {number} of the list does not exist; paths are relative to the folder in "
                "which vera is run."
            )
    if not cases:
        raise UsageError("The list is empty; give one photograph or one folder of a case per line.")
    return CaseList(tuple(cases), skipped)


def _table_base(inputs: Sequence[Path], table: Path) -> Path:
    if not inputs:
        return table.parent
    if len(inputs) > 1 or not inputs[0].is_dir():
        raise UsageError(
            "With --cases the photographs come from the table; give at most one folder beside it."
        )
    return inputs[0]


def _from_table(table: Path, base: Path, keep: str) -> CaseList:
    cases: dict[str, ListedCase] = {}
    for number, row in table_rows(table):
        label = row["case"]
        photo = base / row["photo"]
        if not label or not row["photo"]:
            raise UsageError(f"Row {number} of the table lacks its case or its photo; fill it in.")
        if not photo.is_file():
            raise UsageError(
                f"The photo in row {number} of the table does not exist or is no file; paths are "
                "relative to the folder given, or else to the table."
            )
        case = cases.get(label, ListedCase(label, (), (), label))
        kept = _row_keep(row, number, base, keep)
        cases[label] = replace(case, photos=(*case.photos, photo), keep=(*case.keep, kept))
    if not cases:
        raise UsageError("The table has no rows; give one photo per row under 'case,photo'.")
    return CaseList(tuple(cases.values()))


def _row_keep(row: dict[str, str], number: int, base: Path, keep: str) -> str:
    if not row["mask"]:
        return row["keep"] or keep
    if row["keep"]:
        raise UsageError(f"Row {number} of the table has both keep and mask; leave one empty.")
    mask = base / row["mask"]
    if not mask.is_file():
        raise UsageError(f"The mask in row {number} of the table does not exist or is no file.")
    return str(mask)
