"""The files of earlier edits in a folder: those that their ``edits.json`` lists, and no others."""

import json
from pathlib import Path

RECORD = "edits.json"


def earlier_files(folder: Path) -> tuple[Path, ...]:
    """What earlier edits wrote into ``folder`` and is still there, their record the last.

    A file of the user's that happens to have such a name is not among them.
    """
    record = folder / RECORD
    try:
        content = json.loads(record.read_text("utf-8"))
        names = [name for name in content["files"] if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):  # no record, or none of ours
        return ()
    return (*(path for path in (folder / name for name in names) if path.is_file()), record)


def remove_earlier(folder: Path) -> None:
    """Deletes them; the record goes last, so that it lists what is left of a killed run."""
    for path in earlier_files(folder):
        path.unlink(missing_ok=True)
