"""What is sent: the user's photographs, or synthetic faces as ``vera demo`` makes them."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from vera.batch.cases import PHOTO_SUFFIXES
from vera.bundle import Bundle
from vera.demo import synthetic_pairs
from vera.engines import Engines
from vera.errors import UsageError
from vera.files.write import write_image

_PEOPLE = 4  # two photographs each


def photographs(given: Sequence[Path]) -> list[Path]:
    """The files among ``given`` and the photographs in its folders, sorted.

    Raises:
        UsageError: There are none.
    """
    found = []
    for path in given:
        if path.is_dir():
            inside = (one for one in path.rglob("*") if one.suffix.lower() in PHOTO_SUFFIXES)
            found += sorted(inside)
        else:
            found.append(path)
    if not found or any(not path.is_file() for path in found):
        raise UsageError(
            f"Got {len(found)} photographs in --photos, of which "
            f"{sum(not path.is_file() for path in found)} are not there; give files, or a folder "
            "that holds some."
        )
    return found


def synthetic_faces(folder: Path, bundle: Bundle, engines: Engines, seed: int) -> list[Path]:
    """Writes JPEG photographs, 512 px, of people of the bundle's generator.

    Args:
        folder: Exists.
        bundle: Has the synthetic people.
        engines: Run the generator.
        seed: Draws the people.

    Raises:
        OutputError: A file cannot be written.
    """
    written: list[Path] = []
    for pair in islice(synthetic_pairs(engines, bundle.identities, seed), _PEOPLE):
        for photo in pair:
            written.append(folder / f"face_{len(written)}.jpg")
            write_image(written[-1], photo)
    return written
