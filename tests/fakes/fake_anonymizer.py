"""An anonymizer without engines: the upper two thirds of a photograph change, the rest is kept.

As a program it runs the command line with itself, and dies at a chosen point:
``python fake_anonymizer.py (calls|writes) N anonymize ...`` kills itself in the N-th such event.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vera.anonymizer import Result
from vera.errors import PhotoError
from vera.photo import read_photo
from vera.report import BundleReport, KeptReport, PhotoReport
from vera.write import write_image

_BUNDLE = BundleReport("fake", "0", {})


class FakeAnonymizer:
    """Takes the arguments of ``vera.Anonymizer``; remembers its calls.

    Attributes:
        before: Called with the number of the case, from 1, before it is done.
    """

    def __init__(
        self,
        bundle: Path | None = None,
        *,
        threads: int | None = None,
        device: str = "cpu",
        before: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.bundle = SimpleNamespace(manifest={"name": "fake", "bundle": str(bundle)})
        self.threads = threads
        self.before = before
        self.calls: list[dict] = []

    def anonymize(self, photos, *, keep, seed, faces, steps, pixel_limit, progress):
        self.calls.append(
            {"photos": list(photos), "keep": keep, "seed": seed, "faces": faces, "steps": steps}
            | {"pixel_limit": pixel_limit}
        )
        self.before(len(self.calls))
        if progress is not None:
            progress("invert", 0.5)
        mode = "paired" if len(photos) > 1 else "single"
        seed = 99 if seed is None else seed
        return [self._one(photo, mode, seed, pixel_limit) for photo in photos]

    def _one(self, photo, mode, seed, pixel_limit):
        try:
            image = read_photo(photo, pixel_limit=pixel_limit).image.copy()
        except PhotoError:
            message = "The photograph cannot be read."
            refused = PhotoReport("refused", mode, seed, _BUNDLE, "unreadable-photo", message)
            return Result(None, refused)
        kept = KeptReport(image[image.shape[0] * 2 // 3 :].size // 3, 0)
        changed = np.random.default_rng(seed).integers(1, 256, 3).astype(np.uint8)
        image[: image.shape[0] * 2 // 3] += changed
        return Result(image, PhotoReport("anonymized", mode, seed, _BUNDLE, kept=kept))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _main() -> int:
    from vera.cases import collect_cases
    from vera.cli import main
    from vera.job import JobConfig, run_job

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
        FakeAnonymizer(),
        collect_cases([folder], keep="none", out=out),
        JobConfig(out, "b", 7),
        write=write,
    )
    return 0


if __name__ == "__main__":
    sys.exit(_main())
