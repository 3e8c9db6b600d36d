"""Contact sheets: originals beside outputs, for the eyes of whoever may see the originals."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.errors import PhotoError
from vera.evaluation.outputs import Outputs
from vera.evaluation.people import Person
from vera.evaluation.private import prepare_private, restrict_file
from vera.evaluation.rows import Makers, Row
from vera.evaluation.survey import outputs_of, rows_of
from vera.files.photo import read_photo
from vera.files.write import write_image

Image = npt.NDArray[np.uint8]

_SIDE = 320  # px of a picture on the sheet
_PEOPLE = 8  # on one sheet
WARNING = "The contact sheets show the originals: they must be guarded like the photographs."


def write_sheets(
    folder: Path, people: Sequence[Person], rows: Sequence[Row], outputs: Outputs, makers: Makers
) -> int:
    """Writes one sheet per row and eight people, original and output of every photograph.

    Folder and sheets are readable by their owner alone.

    Returns:
        How many sheets there are.

    Raises:
        OutputError: A file cannot be written.
    """
    prepare_private(folder)
    count = 0
    for row in rows:
        taking_part = [person for person in people if row in rows_of(person, rows)]
        for number, start in enumerate(range(0, len(taking_part), _PEOPLE), 1):
            some = taking_part[start : start + _PEOPLE]
            lines = [
                np.concatenate(list(_pictures(person, row, outputs, makers)), 1) for person in some
            ]
            width = max(line.shape[1] for line in lines)
            full = [np.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0))) for x in lines]
            sheet = folder / f"{row.folder}_{number}.jpg"
            write_image(sheet, np.concatenate(full))
            restrict_file(sheet)
            count += 1
    return count


def _pictures(person: Person, row: Row, outputs: Outputs, makers: Makers) -> Iterator[Image]:
    made = outputs_of(row, person, outputs, makers)
    for path, output in zip(person.photos, made, strict=True):
        try:
            yield _fitted(read_photo(path).image)
        except PhotoError:
            yield np.zeros((_SIDE, _SIDE, 3), np.uint8)
        yield (
            np.zeros((_SIDE, _SIDE, 3), np.uint8) if output.image is None else _fitted(output.image)
        )


def _fitted(image: Image) -> Image:
    """The picture in a square, black around it."""
    import cv2

    scale = _SIDE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    rest = ((0, _SIDE - height), (0, _SIDE - width), (0, 0))
    return np.asarray(np.pad(small, rest), np.uint8)
