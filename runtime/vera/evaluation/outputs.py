"""The folder of outputs: what is finished is not made again.

``outputs/<row>/0003_1.png`` is the output of the first photograph of person 3, and
``outputs/<row>/0003.json`` says what it depends on and holds the reports. The file is written last:
where it is missing or its key is another, the person is done again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vera.errors import OutputError, PhotoError
from vera.evaluation import BASELINES
from vera.evaluation.people import Person
from vera.evaluation.private import prepare_private
from vera.evaluation.rows import Makers, Produced, Row
from vera.files.photo import read_photo
from vera.files.write import prepare_folder, remove_leftovers, write_image, write_text

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of rows under a folder.

    Attributes:
        folder: Its ``outputs`` sub-folder.
    """

    folder: Path

    def prepare(self, row: Row) -> None:
        """Makes the row's folder and takes away what a killed run left half-written.

        A baseline's is for its owner alone: no gate has seen its pictures.

        Raises:
            OutputError: It cannot be written.
        """
        place = self.folder / row.folder
        if row.kind == "baseline":
            prepare_private(place)
        else:
            prepare_folder(place)
        remove_leftovers(place)

    def baselines(self) -> tuple[str, ...]:
        """The baselines whose outputs lie here, also those of earlier runs."""
        rows = list(self.folder.iterdir()) if self.folder.is_dir() else []
        return tuple(
            name for name in BASELINES if any(row.name.startswith(f"{name}-") for row in rows)
        )

    def finished(self, row: Row, person: Person, makers: Makers) -> bool:
        """Whether this person is done, with the same photographs and settings."""
        entry = self._entry(row, person)
        return (
            entry is not None
            and entry["key"] == makers.key(row, person)
            and all(
                photo["reason"] is not None or self._image(row, person, place).is_file()
                for place, photo in enumerate(entry["photos"])
            )
        )

    def write(self, row: Row, person: Person, makers: Makers, made: list[Produced]) -> None:
        """Keeps the outputs of a person.

        Raises:
            OutputError: The disk is full, or the like.
        """
        record = self._record(row, person)
        record.unlink(missing_ok=True)
        for place, one in enumerate(made):
            path = self._image(row, person, place)
            if one.image is None:
                path.unlink(missing_ok=True)
            else:
                write_image(path, one.image)
        photos = [
            {"reason": one.reason, "seconds": round(one.seconds, 4), "report": dict(one.report)}
            for one in made
        ]
        entry = {"format": _FORMAT, "key": makers.key(row, person), "photos": photos}
        write_text(record, json.dumps(entry, indent=1, allow_nan=False))

    def read(self, row: Row, person: Person) -> list[Produced]:
        """The outputs of a person who is finished.

        Raises:
            OutputError: A file was taken away or changed meanwhile.
        """
        entry = self._entry(row, person)
        try:
            if entry is None:
                raise PhotoError("no record")
            return [
                Produced(
                    None
                    if photo["reason"] is not None
                    else read_photo(self._image(row, person, place)).image,
                    photo["reason"],
                    photo["report"],
                    photo["seconds"],
                )
                for place, photo in enumerate(entry["photos"])
            ]
        except PhotoError as error:
            raise OutputError(
                f"An output of person {person.number} in row '{row.folder}' cannot be read; delete "
                "that row's folder and run again."
            ) from error

    def _entry(self, row: Row, person: Person) -> Mapping[str, Any] | None:
        try:
            entry = json.loads(self._record(row, person).read_text("utf-8"))
            known = entry["format"] == _FORMAT and len(entry["photos"]) == len(person.photos)
            for photo in entry["photos"]:
                photo["reason"], photo["seconds"], photo["report"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return entry if known else None

    def _record(self, row: Row, person: Person) -> Path:
        return self.folder / row.folder / f"{person.number:04d}.json"

    def _image(self, row: Row, person: Person, place: int) -> Path:
        return self.folder / row.folder / f"{person.number:04d}_{place + 1}.png"
