"""Timing on a machine that others use too: samples are taken only while it is quiet.

A sample counts if, while it ran, other processes used less than 6 % of the machine. Where too few
count, the best of all samples is the only figure that says something; both are reported. Ratios of
two programs measured one after the other say more than milliseconds.
"""

import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_FOREIGN_SHARE = 0.06  # of all cores, during a sample
_QUIET_SHARE = 0.2  # of one core, before a sample
_LOOK_S = 0.15
_MIN_SAMPLE_S = 0.15  # calls are batched until a sample takes this long


@dataclass(frozen=True)
class Timing:
    """Seconds per call.

    Attributes:
        best_s: The fastest sample of all.
        median_s: Median of the quiet samples; None if there were fewer than three.
        quiet: Number of quiet samples.
        taken: Number of samples.
    """

    best_s: float
    median_s: float | None
    quiet: int
    taken: int

    @property
    def figure_s(self) -> float:
        """The median of the quiet samples, or the best where there were too few."""
        return self.best_s if self.median_s is None else self.median_s


def measure(
    call: Callable[[], object],
    *,
    samples: int = 9,
    patience_s: float = 20.0,
    cpu_time: bool = False,
) -> Timing:
    """Time ``call`` until ``samples`` quiet samples are taken or the patience has run out.

    Args:
        call: What is timed.
        samples: Quiet samples wanted.
        patience_s: Seconds after which the samples taken must do; at least three are.
        cpu_time: Count the seconds of the calling thread on a core instead of the wall clock: for
            programs of one thread on a machine that is never quiet.
    """
    clock = time.thread_time if cpu_time else time.perf_counter
    call()
    call()
    start = clock()
    call()
    calls = max(1, int(_MIN_SAMPLE_S / (clock() - start)))
    taken: list[float] = []
    quiet: list[float] = []
    begin = time.perf_counter()
    while len(quiet) < samples and (time.perf_counter() - begin < patience_s or len(taken) < 3):
        if not cpu_time:
            _wait_for_quiet(patience_s / samples)
        seconds, foreign = _sample(call, calls, clock)
        taken.append(seconds)
        if foreign < _FOREIGN_SHARE:
            quiet.append(seconds)
    median = statistics.median(quiet) if len(quiet) >= 3 else None
    return Timing(min(taken), median, len(quiet), len(taken))


def copy_bandwidth(threads: int, *, mebibytes: int = 128, cpu_time: bool = False) -> float:
    """Bytes per second, read plus written, of copying large arrays with so many threads.

    With ``cpu_time``, per second of one thread on a core.
    """
    size = (mebibytes << 20) // threads
    if cpu_time:
        of, to = np.ones(size, np.uint8), np.zeros(size, np.uint8)
        return 2 * size / measure(lambda: np.copyto(to, of), samples=7, cpu_time=True).best_s
    pairs = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in range(threads)]

    def copy_all() -> None:
        workers = [threading.Thread(target=np.copyto, args=(to, of)) for of, to in pairs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return 2 * size * threads / measure(copy_all, samples=7, patience_s=5).best_s


def machine() -> dict[str, Any]:
    """What a figure depends on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load": os.getloadavg()[0],
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
    }


def print_json(row: Mapping[str, Any]) -> None:
    """One line per figure, so that results can be appended to a file and read by anything."""
    print(json.dumps(row), flush=True)


def timing_row(timing: Timing) -> dict[str, Any]:
    """``timing`` in milliseconds, for `print_json`."""
    fields = asdict(timing)
    best, median = fields.pop("best_s"), fields.pop("median_s")
    return {"best_ms": best * 1e3, "median_ms": median and median * 1e3, **fields}


def _sample(
    call: Callable[[], object], calls: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds per call, and the share of the machine that other processes used meanwhile."""
    busy, own, begin, start = _busy_s(), _own_s(), time.perf_counter(), clock()
    for _ in range(calls):
        call()
    seconds, elapsed = clock() - start, time.perf_counter() - begin
    foreign = (_busy_s() - busy) - (_own_s() - own)
    return seconds / calls, max(0.0, foreign) / ((os.cpu_count() or 1) * elapsed)


def _wait_for_quiet(patience_s: float) -> None:
    begin = time.perf_counter()
    while time.perf_counter() - begin < patience_s:
        busy, start = _busy_s(), time.perf_counter()
        time.sleep(_LOOK_S)
        if (_busy_s() - busy) / (time.perf_counter() - start) < _QUIET_SHARE:
            return


def _busy_s() -> float:
    """Seconds of all cores since boot spent on anything but idling and waiting for disks."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def _own_s() -> float:
    return sum(os.times()[:4])
