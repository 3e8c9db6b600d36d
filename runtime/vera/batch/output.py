"""The output folder: names that tell nothing, one job at a time, no files of an earlier request."""

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from vera.batch.cases import ListedCase
from vera.errors import OutputError

Naming = Literal["numbered", "random", "original"]
LOG_NAME = "vera-log.json"
_ENDINGS = ("png", "jpg", "json")


class OutputNames:
    """Hands out output names: paths in the output folder without ending, never taken before."""

    def __init__(self, folder: Path, naming: Naming, taken: Iterable[str]) -> None:
        """``taken`` are the names in the journal; a file that exists takes its name, too."""
        self._folder = folder
        self._naming = naming
        self._taken = {*taken, LOG_NAME.removesuffix(".json")}

    def take(
        self, case: ListedCase, number: int, nested: bool, variants: int = 1
    ) -> tuple[str, ...]:
        """Names for the photographs of a case.

        Args:
            case: The case; its label and file names are used by ``original`` only.
            number: Its place in the job, from 1: its number, as long as that is free.
            nested: Whether the case gets a folder of its own.
            variants: How many identities the case gets.

        Returns:
            The names of the first identity, one per photograph, then those of the second, which end
            in ``_v2``, and so on.
        """
        folder = self._case_folder(case, number) + "/" if nested else ""
        first = tuple(self._stem(folder, photo, variants) for photo in case.photos)
        return _variants(first, variants)

    def extend(self, stems: tuple[str, ...], photos: int, variants: int) -> tuple[str, ...] | None:
        """The names of a case that has ``stems`` already, for another number of identities.

        Args:
            stems: As :meth:`take` gave them.
            photos: Photographs of the case.
            variants: How many identities it gets now.

        Returns:
            The names, or None if one of those that are added is not free.
        """
        wanted = _variants(stems[:photos], variants)
        added = set(wanted) - set(stems)
        if not all(map(self._free, added)):
            return None
        self._taken |= added
        return wanted

    def _case_folder(self, case: ListedCase, number: int) -> str:
        used = {stem.split("/")[0] for stem in self._taken if "/" in stem}

        def free(name: str) -> bool:
            return name not in used and not (self._folder / name).exists()

        if self._naming == "original":
            return _first(_plain(case.label), free)
        if self._naming == "random":
            return _random(free)
        # Places beyond all used numbers, if this one is taken: photographs came and went between
        # two runs.
        while not free(name := f"case_{number:04d}"):
            number += 1
        return name

    def _stem(self, folder: str, photo: Path, variants: int) -> str:
        def free(stem: str) -> bool:
            return all(map(self._free, _variants((stem,), variants)))

        if self._naming == "original":
            stem = _first(folder + _plain(photo.stem), free)
        elif self._naming == "random" and not folder:
            stem = _random(free)
        else:
            number = 1
            while not free(stem := f"{folder}anon_{number}"):
                number += 1
        self._taken.update(_variants((stem,), variants))
        return stem

    def _free(self, stem: str) -> bool:
        return stem not in self._taken and not any(
            (self._folder / f"{stem}.{ending}").exists() for ending in _ENDINGS
        )


def _variants(stems: tuple[str, ...], variants: int) -> tuple[str, ...]:
    further = (f"{stem}_v{number}" for number in range(2, variants + 1) for stem in stems)
    return (*stems, *further)


def _plain(name: str) -> str:
    """A table's cell as a file name: no folders, nothing hidden, never empty."""
    return re.sub(r"[^\w .()+-]", "_", name).strip(" .") or "case"


def _first(name: str, free: Callable[[str], bool]) -> str:
    number = 1
    numbered = name
    while not free(numbered):
        number += 1
        numbered = f"{name}_{number}"
    return numbered


def _random(free: Callable[[str], bool]) -> str:
    while not free(name := f"anon_{secrets.token_hex(6)}"):
        pass
    return name


def remove_outputs(folder: Path, stems: Iterable[str], written: set[Path]) -> None:
    """Delete what an earlier run with other options left of these outputs, all but ``written``.

    An image of the earlier request must not stay beside a report that says "refused".

    Raises:
        OutputError: A file cannot be deleted.
    """
    for stem in stems:
        for path in (folder / f"{stem}.{ending}" for ending in _ENDINGS):
            if path in written:
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"'{path}' of an earlier run cannot be deleted ({error.strerror}); delete it "
                    "by hand."
                ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the output folder for one job; the lock ends with the process, however that ends.

    Raises:
        OutputError: Another job works in it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"Another run of vera is writing to '{folder}'; wait for it or choose another "
                "--out."
            ) from error
        except OSError:  # a file system without locks: the journal still keeps finished cases apart
            pass
        yield
    finally:
        os.close(handle)
