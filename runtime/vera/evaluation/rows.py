"""The rows of the tables: which methods are evaluated, and what each makes of a person."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vera.batch.cases import PHOTO_SUFFIXES
from vera.bundle import Bundle
from vera.engines import Engines
from vera.errors import PhotoError, RefusedError, UsageError
from vera.evaluation.baselines import draw_baseline
from vera.evaluation.originals import open_original
from vera.evaluation.people import Person
from vera.files.photo import read_photo
from vera.report import PhotoReport
from vera.versions import __version__

Image = npt.NDArray[np.uint8]
# "each": a method that knows no pairs and takes every photograph by itself.
Mode = Literal["single", "paired", "each"]
Kind = Literal["vera", "baseline", "peer"]

STANDARD = "standard"
_SAME_ASPECT = 0.01
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One method in one mode.

    Attributes:
        kind: Who made the outputs.
        method: ``vera``, a baseline, or the name of a peer.
        keep: Name of the kept region, ``none`` for none.
        mode: Whether the photographs of a person are one case.
    """

    kind: Kind
    method: str
    keep: str
    mode: Mode

    @property
    def name(self) -> str:
        """As in the tables, such as ``vera mouth`` or ``blur standard``."""
        kept = STANDARD if self.keep == "none" else self.keep
        return self.method if self.kind == "peer" else f"{self.method} {kept}"

    @property
    def folder(self) -> str:
        """Name of the row's folder of outputs, and its key in the figures."""
        plain = self.name.replace(" ", "-").replace(",", "+")
        return plain if self.mode == "each" else f"{plain}-{self.mode}"


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """What a row made of one photograph.

    Attributes:
        image: uint8 [h, w, 3] of the photograph's size; None without an output.
        reason: Why there is none, such as ``no-face`` or ``missing``; None with one.
        report: The photograph's report, for ``vera`` rows.
        seconds: Wall-clock time of its case, over the photographs of that.
    """

    image: Image | None
    reason: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class ResultLike(Protocol):
    """See :class:`vera.anonymizer.Result`."""

    @property
    def image(self) -> Image | None:
        """uint8 [h, w, 3], or None if refused."""

    @property
    def report(self) -> PhotoReport:
        """The report."""


class AnonymizerLike(Protocol):
    """See :class:`vera.anonymizer.Anonymizer`."""

    def anonymize(
        self, photos: Sequence[Path], *, keep: str, seed: int, **options: Any
    ) -> Sequence[ResultLike]:
        """One result for each photograph of one person."""


@dataclass(frozen=True, slots=True, eq=False)
class Makers:
    """What outputs are made with.

    Attributes:
        anonymizer: For ``vera`` rows.
        engines: For the baselines.
        bundle: Of both.
        peers: By name the folder of another system's outputs.
        seed: From which the seed of each case is derived.
        options: Further arguments of ``Anonymizer.anonymize``.
    """

    anonymizer: AnonymizerLike
    engines: Engines
    bundle: Bundle
    peers: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def key(self, row: Row, person: Person) -> str:
        """Digest of all that an output depends on: equal keys, equal outputs."""
        request = (__version__, row.folder, row.keep, self.seed, dict(self.options))
        digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode())
        digest.update(json.dumps(dict(self.bundle.manifest), sort_keys=True).encode())
        for path in person.photos:
            digest.update(content(path))
        return digest.hexdigest()

    def make(self, row: Row, person: Person) -> list[Produced]:
        """The outputs of a person's photographs, in order."""
        if row.kind == "peer":
            return [_peer(self.peers[row.method], path) for path in person.photos]
        if row.kind == "baseline":
            return [self._baseline(row, path) for path in person.photos]
        if row.mode == "paired":
            return self._anonymized(row, person.photos)
        return [one for path in person.photos for one in self._anonymized(row, [path])]

    def _anonymized(self, row: Row, photos: Sequence[Path]) -> list[Produced]:
        seed = case_seed(self.seed, photos)
        start = time.perf_counter()
        results = self.anonymizer.anonymize(
            list(photos), keep=row.keep, seed=seed, **dict(self.options)
        )
        seconds = (time.perf_counter() - start) / len(photos)
        return [
            Produced(
                result.image, result.report.reason, json.loads(result.report.to_json()), seconds
            )
            for result in results
        ]

    def _baseline(self, row: Row, path: Path) -> Produced:
        regions = () if row.keep == "none" else (row.keep,)
        start = time.perf_counter()
        margin = self.options.get("keep_margin")
        original = open_original(path, regions, self.engines, margin=margin)
        if original is None:
            return Produced(None, "no-face")
        try:
            image = draw_baseline(row.method, original, row.keep, self.engines, self.bundle)
        except RefusedError as error:
            return Produced(None, error.reason)
        return Produced(image, seconds=time.perf_counter() - start)


def content(path: Path) -> bytes:
    """Digest of a photograph's bytes; a file that cannot be read counts as empty."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return hashlib.sha256().digest()


def case_seed(seed: int, photos: Sequence[Path]) -> int:
    """Seed of a case, from the evaluation's and the photographs' bytes: order means nothing."""
    digest = hashlib.sha256(seed.to_bytes(8, "little"))
    for path in photos:
        digest.update(content(path))
    return int.from_bytes(digest.digest()[:8], "little") & _LARGEST_SEED


def peer_folder(text: str) -> tuple[str, Path]:
    """Reads ``NAME=DIR``.

    Raises:
        UsageError: It is not so, or there is no such folder.
    """
    name, _, folder = text.partition("=")
    plain = name.replace("-", "").replace("_", "").isalnum()
    if not plain or not folder or not Path(folder).is_dir():
        raise UsageError(
            "--peer takes NAME=DIR with a plain name and the folder of that system's outputs, "
            f"got '{text}'."
        )
    return name, Path(folder)


def check_peers(peers: Mapping[str, Path], people: Sequence[Person]) -> None:
    """Checks that outputs of peers and photographs belong together one to one.

    Raises:
        UsageError: One output would stand for two photographs, or one of two would have to be
            chosen.
    """
    photos = [photo for person in people for photo in person.photos]
    for name, folder in peers.items():
        places = [(_peer_place(folder, photo), photo.stem) for photo in photos]
        if len(set(places)) < len(photos):
            raise UsageError(
                f"Several photographs have one name, and the outputs of '{name}' cannot be told "
                "apart; put them into sub-folders like those of the photographs."
            )
        images = {place: Counter(path.stem for path in _images(place)) for place, _ in places}
        doubled = sum(images[place][stem] > 1 for place, stem in places)
        if doubled:
            raise UsageError(
                f"The folder of '{name}' has several images of one name for {doubled} photographs, "
                "such as .png and .jpg, of which none can be chosen; leave one of each."
            )


def _peer_place(folder: Path, photo: Path) -> Path:
    inside = folder / photo.parent.name
    return inside if inside.is_dir() else folder


def _images(folder: Path) -> list[Path]:
    """The pictures in a folder; peers often write tables and masks' descriptions beside them."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)


def _peer(folder: Path, photo: Path) -> Produced:
    """The output of the photograph's own name, whatever its ending, at the photograph's size."""
    import cv2

    place = _peer_place(folder, photo)
    found = [path for path in _images(place) if path.stem == photo.stem]
    if not found:
        return Produced(None, "missing")
    try:
        image, size = read_photo(found[0]).image, read_photo(photo).image.shape[:2]
    except PhotoError:
        return Produced(None, "unreadable")
    if image.shape[:2] == size:
        return Produced(image)
    aspects = [height / width for height, width in (image.shape[:2], size)]
    if abs(aspects[0] / aspects[1] - 1) > _SAME_ASPECT:
        return Produced(None, "other-frame")
    how = cv2.INTER_AREA if image.shape[0] > size[0] else cv2.INTER_CUBIC
    return Produced(np.asarray(cv2.resize(image, size[::-1], interpolation=how), np.uint8))
