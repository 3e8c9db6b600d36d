"""Folders for their owner alone: what shows patients lies in them."""

from pathlib import Path

from vera.errors import OutputError
from vera.files.write import prepare_folder

_FOLDER, _FILE = 0o700, 0o600


def prepare_private(folder: Path) -> None:
    """Makes a folder that only its owner can open, or takes an earlier one from everybody else.

    Raises:
        OutputError: It cannot be written, or belongs to somebody else.
    """
    prepare_folder(folder)
    _restrict(folder, _FOLDER)


def restrict_file(path: Path) -> None:
    """Makes a file readable by its owner alone.

    Raises:
        OutputError: It belongs to somebody else.
    """
    _restrict(path, _FILE)


def _restrict(path: Path, mode: int) -> None:
    try:
        path.chmod(mode)
    except OSError as error:
        raise OutputError(
            f"The permissions of '{path}' cannot be set ({error.strerror}); it shows patients, so "
            "choose an output folder that is yours."
        ) from error
