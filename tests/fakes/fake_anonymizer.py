"""An anonymizer without engines: the upper two thirds of a photograph change, the rest is kept.

As a program it runs the command line with itself, and dies at a chosen point:
``python fake_anonymizer.py (calls|writes) N anonymize ...`` kills itself in the N-th such event.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vera.errors import EngineError, PhotoError
from vera.files.photo import read_photo
from vera.files.write import write_image
from vera.report import BundleReport, KeptReport, PhotoReport

_BUNDLE = BundleReport("fake", "0", {})
ENGINES = ("guide",)
_PEOPLE = 4  # so few that two cases soon get the same one
THRESHOLD = 0.8


@dataclass
class FakeResult:
    """What ``vera.anonymizer.Result`` has."""

    image: np.ndarray | None
    report: PhotoReport
    person: np.ndarray | None = None


class FakeAnonymizer:
    """Takes the arguments of ``vera.Anonymizer``; remembers its calls.

    Its new people are the unit vectors of a small space; the seed or the key draws one.

    Attributes:
        before: Called with the number of the case, from 1, before it is done.
    """

    def __init__(
        self,
        bundle: Path | None = None,
        *,
        threads: int | None = None,
        device: str = "cpu",
        judges=(),
        before: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.bundle = SimpleNamespace(
            digest=f"digest of {bundle}",
            name="fake",
            version="0",
            hashes={},
            engines=ENGINES,
        )
        self.threads = threads
        self.judges = judges
        self.before = before
        self.calls: list[dict] = []

    def anonymize(
        self, photos, *, keep, seed=None, key=None, distinct_from=None, progress=None, **settings
    ):
        self.calls.append(
            {"photos": list(photos), "keep": keep, "seed": seed, "key": key}
            | {"distinct_from": distinct_from}
            | settings
        )
        self.before(len(self.calls))
        self.misbehave(photos)
        if progress is not None:
            progress("invert", 0.5)
        mode = "paired" if len(photos) > 1 else "single"
        seed = 99 if seed is None else seed
        words = [seed] if key is None else list(key.derived().words())
        results = []
        others = [] if distinct_from is None else list(distinct_from)
        for variant in range(settings.get("variants", 1)):
            person = _person([*words, variant], others)
            others += [] if person is None else [person]
            limit = settings.get("pixel_limit", 10**6)
            results += [self._one(photo, mode, seed, limit, person) for photo in photos]
        return results

    def misbehave(self, photos) -> None:
        """As told by the name of the first photograph's folder."""
        case = photos[0].parent.name
        if case.startswith("breaking"):
            raise EngineError("The engine broke; run vera check.")
        if case.startswith("deadly"):
            _die()
        if case.startswith("slow"):
            time.sleep(60)

    def _one(self, photo, mode, seed, pixel_limit, person):
        try:
            image = read_photo(photo, pixel_limit=pixel_limit).image.copy()
        except PhotoError:
            message = "The photograph cannot be read."
            refused = PhotoReport("refused", mode, seed, _BUNDLE, "unreadable-photo", message)
            return FakeResult(None, refused)
        if person is None:
            message = "No person is left."
            return FakeResult(
                None, PhotoReport("refused", mode, seed, _BUNDLE, "no-person", message)
            )
        kept = KeptReport(image[image.shape[0] * 2 // 3 :].size // 3, 0)
        number = int(person.argmax())
        changed = np.random.default_rng([seed, number]).integers(1, 256, 3).astype(np.uint8)
        image[: image.shape[0] * 2 // 3] += changed
        report = PhotoReport("anonymized", mode, seed, _BUNDLE, kept=kept)
        return FakeResult(image, report, person)


def _person(words, others):
    """The first one in an order that ``words`` decide that none of the others is close to."""
    for number in np.random.default_rng(words).permutation(_PEOPLE):
        person = np.eye(_PEOPLE, dtype=np.float32)[number]
        if all(other @ person < THRESHOLD for other in others):
            return person
    return None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _main() -> int:
    from vera.batch.cases import collect_cases
    from vera.batch.job import run_job
    from vera.batch.plan import JobConfig
    from vera.batch.workers import OwnProcess
    from vera.cli import main

    event, number, *arguments = sys.argv[1:]
    if event == "calls":
        fatal = int(number)
        return main(
            arguments,
            open_anonymizer=lambda bundle, threads: FakeAnonymizer(
                before=lambda call: _die() if call == fatal else None
            ),
        )
    folder, out = map(Path, arguments)
    left = int(number)

    def write(path, image):
        nonlocal left
        left -= 1
        if left == 0:  # as write_image leaves it when killed between opening and renaming
            path.with_name(f".vera-{os.getpid()}-0123456789abcdef.png").write_bytes(b"\x89PNG half")
            _die()
        write_image(path, image)

    run_job(
        OwnProcess(FakeAnonymizer(), write=write),
        collect_cases([folder], keep="none", out=out),
        JobConfig(out, "b", 7),
    )
    return 0


if __name__ == "__main__":
    sys.exit(_main())
