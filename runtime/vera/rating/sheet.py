"""Writing the sheets: a folder for each rater, and the key apart."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Literal

import numpy as np
import numpy.typing as npt

from vera.errors import OutputError, PhotoError, UsageError
from vera.files.photo import read_photo
from vera.files.write import prepare_folder, write_image, write_parts, write_text
from vera.page.build import environment
from vera.page.originals import NONE, Originals
from vera.page.read import Output, OutputFolder
from vera.rating.plan import Item, Kind, plan
from vera.rating.region import kept_outline, kept_region, original_region, view
from vera.rating.scale import Scale

KEY_NAME = "key.csv"
KEY_COLUMNS = ("rater", "item", "case", "output", "kind", "scale")
ANSWER_COLUMNS = ("item", "answer", "comment")

Crop = Literal["kept", "photo"]
_MOST_RATERS = 50


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked.

    Attributes:
        scale: The answers.
        question: Shown with every item.
        raters: How many sheets.
        crop: All of the photograph, or the surroundings of the kept region.
        seed: Of names and orders; None draws anew.
    """

    scale: Scale
    question: str
    raters: int = 2
    crop: Crop = "photo"
    seed: int | None = None

    def __post_init__(self) -> None:
        """Checks the number of raters."""
        if not 1 <= self.raters <= _MOST_RATERS:
            raise UsageError(f"A study has 1 to {_MOST_RATERS} raters, got {self.raters}.")


@dataclass(frozen=True, slots=True)
class Written:
    """What a study came to.

    Attributes:
        photos: Anonymised photographs on every sheet.
        regions: Of these, shown a second time as the original's kept region.
        left_out: Reports without a readable image, refused ones included.
        unshown: Photographs with an original and a kept region that cannot be shown alone.
    """

    photos: int
    regions: int
    left_out: int
    unshown: int = 0


def write_sheets(
    folder: OutputFolder, out: Path, study: Study, *, originals: Originals = NONE
) -> Written:
    """Write one sheet per rater and the key.

    Args:
        folder: The outputs to be rated.
        out: A new or empty folder outside ``folder``.
        study: What is asked.
        originals: Photographs whose kept regions are shown as a second condition.

    Raises:
        OutputError: ``out`` holds something, or cannot be written.
        UsageError: There is nothing to rate, ``out`` lies in the output folder, or the extra
            ``report`` is not installed.
    """
    _check_place(folder.folder, out)
    template = environment("vera.rating").get_template("sheet.html")
    by_name = {output.name: output for output in folder.outputs if output.image is not None}
    pictures = _Pictures(by_name, originals, study.crop)
    subjects = {name: kinds for name in by_name if (kinds := pictures.kinds(name))}
    if not subjects:
        raise UsageError(
            "The output folder holds no anonymised photograph; there is nothing to rate."
        )
    prepare_folder(out)
    draw = SystemRandom() if study.seed is None else Random(study.seed)
    items = plan(subjects, study.raters, draw)
    cases = {o.name: case.name for case in folder.cases for o in case.outputs}
    write_parts(out / KEY_NAME, [_key(items, cases, study.scale)], mode=0o600)
    for rater in range(1, study.raters + 1):
        shown = [item for item in items if item.rater == rater]
        _write_sheet(out / f"rater_{rater}", shown, study, pictures.draw, template.render)
    regions = sum(len(kinds) > 1 for kinds in subjects.values())
    unshown = sum(
        len(kinds) == 1 and name in originals.by_output and bool(kept_outline(by_name[name].report))
        for name, kinds in subjects.items()
    )
    left_out = sum(1 for _ in folder.outputs) - len(subjects)
    return Written(len(subjects), regions, left_out, unshown)


def _check_place(outputs: Path, out: Path) -> None:
    if out.resolve().is_relative_to(outputs.resolve()):
        raise UsageError(
            "The sheets must not lie in the output folder, which may be passed on; choose another "
            "--out."
        )
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"'{out}' is not empty; choose a new folder for the sheets.")


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Reads what is shown, photograph by photograph."""

    outputs: Mapping[str, Output]
    originals: Originals
    crop: Crop

    def kinds(self, name: str) -> tuple[Kind, ...]:
        """The conditions in which an output can be shown; none if its image cannot be read."""
        try:
            self.draw(name, "anonymized")
        except PhotoError:
            return ()
        try:
            self.draw(name, "original-region")
        except PhotoError:
            return ("anonymized",)
        return ("anonymized", "original-region")

    def draw(self, name: str, kind: Kind) -> npt.NDArray[np.uint8]:
        """The picture of one condition.

        Raises:
            PhotoError: There is none.
        """
        output = self.outputs[name]
        if output.image is None:
            raise PhotoError("The output has no image.")
        shown = image = read_photo(output.image).image
        kept = kept_region(output.report, image.shape[:2])
        if kind == "original-region":
            original = self.originals.by_output.get(name)
            if original is None or kept is None:
                raise PhotoError("The output has no original, or keeps nothing of it.")
            lossy = bool(output.report["kept"]["lossy"])
            region = original_region(read_photo(original).image, image, kept, lossy=lossy)
            if region is None:
                raise PhotoError("The original is not that of this output.")
            shown = region
        return view(shown, kept if self.crop == "kept" else None)


def _write_sheet(
    folder: Path,
    items: list[Item],
    study: Study,
    picture: Callable[[str, Kind], npt.NDArray[np.uint8]],
    render: Callable[..., str],
) -> None:
    prepare_folder(folder / "images")
    for item in items:
        write_image(folder / "images" / f"{item.name}.png", picture(item.output, item.kind))
    names = [item.name for item in items]
    text = render(names=names, question=study.question, values=study.scale.values)
    write_text(folder / "sheet.html", text)
    write_text(folder / "answers.csv", _csv(ANSWER_COLUMNS, [(name, "", "") for name in names]))


def _key(items: tuple[Item, ...], cases: Mapping[str, str], scale: Scale) -> str:
    rows = [(str(i.rater), i.name, cases[i.output], i.output, i.kind, scale.text) for i in items]
    return _csv(KEY_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
