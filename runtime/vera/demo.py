"""``vera demo``: a real portrait and a before/after pair of a person who never lived, anonymised.

The portrait is scikit-image's astronaut (NASA, public domain). The pair is drawn by the bundle's
own
generator: the codes of one synthetic person, twice, with expression, pose and mouth of two other
people.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.batch.casework import AnonymizerLike, ResultLike
from vera.bundle import Identities
from vera.contract import (
    CLASSES,
    COARSE_ROWS,
    CROP_SIZE,
    high_level_row,
    shape_row,
    texture_row,
)
from vera.engines import Engines
from vera.errors import OutputError, RefusedError, UsageError
from vera.files.photo import read_photo
from vera.files.write import prepare_folder, write_image, write_text
from vera.pixels.align import to_image
from vera.pixels.labels import probabilities

Image = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]

PHOTO_SIZE = 512  # px; the synthetic pair's photographs are square
_FACE_SIZE = 384  # px of the crop in them: a face as in a portrait, well above the detector's limit
_FADE = 24  # crop pixels over which the edges of the crop fade into the wall
_PEOPLE_TRIED = 8

# What may differ between two photographs of one person: everything else stays the person's own.
_VARYING_ROWS = (
    *COARSE_ROWS,
    shape_row(CLASSES.index("mouth")),
    texture_row(CLASSES.index("mouth")),
    high_level_row("expression"),
    high_level_row("pose"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One photograph of the demo.

    Attributes:
        original: What went in.
        anonymized: What came out; None if it was refused.
        report: The report's file.
        message: Why it was refused, or None.
    """

    original: Path
    anonymized: Path | None
    report: Path
    message: str | None


def run_demo(
    anonymizer: AnonymizerLike,
    engines: Engines,
    identities: Identities,
    out: Path,
    *,
    seed: int,
    say: Callable[[str], None],
) -> list[Shown]:
    """Anonymise the portrait and the pair, keeping the mouth, and write everything to ``out``.

    Args:
        anonymizer: Does the work.
        engines: Run the generator that draws the pair.
        identities: The synthetic people to draw from.
        out: Output folder.
        seed: Of the draws and of both cases.
        say: Takes a line before each case.

    Raises:
        UsageError: scikit-image is not installed.
        OutputError: A file cannot be written.
        RefusedError: No synthetic person came out as a face that can be anonymised.
    """
    portrait = astronaut()
    prepare_folder(out)
    say("A real portrait (scikit-image's astronaut), keeping the mouth")
    original = out / "portrait.png"
    write_copy(portrait, original)
    result = _anonymize(anonymizer, [original], seed)[0]
    shown = [_save(result, original)]
    say("A before/after pair of one synthetic person, keeping the mouth")
    originals = [out / "pair_before.png", out / "pair_after.png"]
    for photos in synthetic_pairs(engines, identities, seed):
        for path, photo in zip(originals, photos, strict=True):
            write_image(path, photo)
        results = _anonymize(anonymizer, originals, seed)
        if all(result.image is not None for result in results):
            shown += [_save(r, path) for r, path in zip(results, originals, strict=True)]
            _write_overview(out / "overview.png", shown)
            return shown
    raise RefusedError(
        "no-synthetic-person",
        f"None of {_PEOPLE_TRIED} synthetic people could be anonymised; try another --seed.",
    )


def astronaut() -> Path:
    """The portrait as scikit-image installs it, 512 px.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        found = Path(str(resources.files("skimage"))) / "data" / "astronaut.png"
    except ModuleNotFoundError as error:
        raise UsageError(
            'The demo needs a portrait from scikit-image; run pip install "vera[demo]" first.'
        ) from error
    if not found.is_file():
        raise UsageError(
            "The installed scikit-image has no astronaut.png; install a version from 0.24 to 0.26."
        )
    return found


def write_copy(source: Path, target: Path) -> None:
    """Copy a file as it is: the original must not get the mark of an altered picture.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(
            f"'{target}' cannot be written ({error.strerror}); choose another output folder."
        ) from error


def synthetic_pairs(
    engines: Engines, identities: Identities, seed: int
) -> Iterator[tuple[Image, Image]]:
    """Pairs of photographs, each of one synthetic person with two expressions.

    Yields:
        Two uint8 [512, 512, 3] images, of another person each time.
    """
    # Profiles are the hard case of every step; the demo is not the place to show them.
    frontal = np.argsort(np.abs(identities.yaw))[: max(3, len(identities.yaw) // 3)]
    generator = np.random.default_rng(seed)
    for _ in range(_PEOPLE_TRIED):
        person, before, after = generator.choice(frontal, 3, replace=False)
        latent = np.repeat(identities.codes[person][None], 2, axis=0)
        latent[:, _VARYING_ROWS] = identities.codes[[before, after]][:, _VARYING_ROWS]
        drawn = engines.run("generator", latent=latent)
        photos = [
            photograph(image, segmentation)
            for image, segmentation in zip(drawn["image"], drawn["segmentation"], strict=True)
        ]
        yield photos[0], photos[1]


def photograph(image: Tensor, segmentation: Tensor) -> Image:
    """Set a generated crop before a plain wall, as a portrait.

    Args:
        image: float32 [3, 256, 256] in [-1, 1].
        segmentation: float32 [13, s, s] logits.

    Returns:
        uint8 [512, 512, 3].
    """
    import cv2

    person = 1 - probabilities(segmentation)[CLASSES.index("background")]
    size = (_FACE_SIZE, _FACE_SIZE)
    face = cv2.resize(to_image(image), size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    alpha = cv2.resize(person * _window(CROP_SIZE), size, interpolation=cv2.INTER_LINEAR)[..., None]
    # Light from above: a wall that darkens towards the floor, in 8-bit grey levels.
    wall = np.linspace(196, 164, PHOTO_SIZE, dtype=np.float32)[:, None, None]
    photo = np.repeat(wall, PHOTO_SIZE, axis=1) * np.array([0.96, 1.0, 1.02], np.float32)
    left = (PHOTO_SIZE - _FACE_SIZE) // 2
    place = photo[PHOTO_SIZE - _FACE_SIZE :, left : left + _FACE_SIZE]  # the crop ends at the neck
    place[...] = alpha * face + (1 - alpha) * place
    portrait: Image = np.clip(np.rint(photo), 0, 255).astype(np.uint8)
    return portrait


def _window(size: int) -> Tensor:
    """1 inside, 0 at the left, right and upper edges, where the crop cuts hair off."""
    fade = np.clip(np.arange(size, dtype=np.float32) / np.float32(_FADE), 0, 1)
    window: Tensor = fade[:, None] * np.minimum(fade, fade[::-1])[None]
    return window


def _anonymize(
    anonymizer: AnonymizerLike, photos: Sequence[Path], seed: int
) -> Sequence[ResultLike]:
    return anonymizer.anonymize(photos, keep=["mouth"] * len(photos), seed=seed)


def _save(result: ResultLike, original: Path) -> Shown:
    report = original.with_name(f"{original.stem}_report.json")
    target = original.with_name(f"{original.stem}_anonymized.png")
    if result.image is None:
        target.unlink(missing_ok=True)
    else:
        write_image(target, result.image)
    write_text(report, result.report.to_json() + "\n")
    anonymized = None if result.image is None else target
    return Shown(original, anonymized, report, result.report.message)


def _write_overview(path: Path, shown: Sequence[Shown]) -> None:
    """Originals above, anonymised images below (grey where refused)."""
    columns = []
    for item in shown:
        original = read_photo(item.original).image
        anonymized = np.full_like(original, 128)
        if item.anonymized is not None:
            anonymized = read_photo(item.anonymized).image
        columns.append(np.concatenate([original, anonymized]))
    write_image(path, np.concatenate(columns, axis=1))
