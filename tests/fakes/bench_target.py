"""An anonymizer for benchmarks: a case sleeps a millisecond; slots and queue are real.

As a module it is also what a cold start runs: ``python -m bench_target``.
"""

import json
import sys
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from vera.errors import BusyError, EngineError
from vera.report import BundleReport, FaceReport, InversionReport, KeptReport, PhotoReport
from vera.wire.server import ServedBundle, ServerContract

WORK_S = 0.001
_BUNDLE = BundleReport("fake", "0", {})


def report(
    seed: int, *, refused: bool = False, loss: float = 0.5, opencv: str = "5"
) -> PhotoReport:
    """The report of a case that took three steps."""
    if refused:
        return PhotoReport("refused", "single", seed, _BUNDLE, "no-face", "No face was found.")
    return PhotoReport(
        "anonymized",
        "single",
        seed,
        _BUNDLE,
        faces=(FaceReport((90, 120), 60.0, 0.25, 0.8, 1, True),),
        kept=KeptReport(10, 0),
        inversion=InversionReport(3, 1.0, loss),
        versions={"opencv": opencv},
    )


class BenchAnonymizer:
    """Takes the arguments of ``vera.Anonymizer``.

    Its pictures are drawn by the seed, and ``shade`` grey levels off; ``told`` is in its reports.
    """

    opened: ClassVar[list] = []

    def __init__(self, bundle=None, *, shade=0, failing=False, told=(), **options) -> None:
        self.options, self.closed = options, False
        self.shade, self.failing, self.told = shade, failing, dict(told)
        self.asked: list[dict] = []
        self._slots = threading.Semaphore(options.get("workers", 1))
        self._room = options.get("workers", 1) + options.get("queue", 64)
        self._inside, self._lock = 0, threading.Lock()
        self.cases = SimpleNamespace(server=ServerContract(ServedBundle("fake", "0", "d", {})))
        BenchAnonymizer.opened.append(self)

    def submit(self, photos, *, keep, seed, deadline=None, **settings):
        with self._lock:
            if self._inside >= self._room:
                raise BusyError("The queue is full; try again later.")
            self._inside += 1
            asked = {"photos": photos, "keep": keep, "seed": seed, "deadline": deadline}
            self.asked.append(asked | settings)
        return _Job(self, seed)

    def anonymize(self, photos, *, keep, seed, **settings):
        return self.submit(photos, keep=keep, seed=seed, **settings).result()

    def close(self) -> None:
        self.closed = True

    def do(self, seed):
        begin = time.perf_counter()
        with self._slots:
            start = time.perf_counter()
            time.sleep(WORK_S)
        with self._lock:
            self._inside -= 1
        if self.failing:
            raise EngineError("The engine broke; run vera check.")
        image = np.random.default_rng(seed).integers(0, 200, (4, 4, 3)).astype(np.uint8)
        end, made = time.perf_counter(), report(seed, **self.told)
        times = SimpleNamespace(queue_s=start - begin, work_s=end - start, steps=3)
        return [SimpleNamespace(image=image + np.uint8(self.shade), report=made)], times


class _Job:
    def __init__(self, anonymizer: BenchAnonymizer, seed: int) -> None:
        self._anonymizer, self._seed = anonymizer, seed
        self.times = None

    def result(self, timeout=None):
        results, self.times = self._anonymizer.do(self._seed)
        return results


def main() -> int:
    """What ``vera.benchmark.cold`` prints, without VerA."""
    request = json.load(sys.stdin)
    if request["case"]["seed"] == 13:
        sys.stderr.write("EngineError: no luck\n")
        return 1
    told = {"opening_s": 0.25, "first_s": 0.5, "peak_bytes": 1000 * len(request["photos"])}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
