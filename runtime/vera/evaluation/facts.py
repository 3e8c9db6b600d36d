"""What a reader must know of an evaluation beside its figures: machine, versions, settings."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vera.bundle import Bundle
from vera.evaluation.calibration import Calibration
from vera.evaluation.matchers import Matcher
from vera.evaluation.people import Person
from vera.evaluation.rows import Makers
from vera.evaluation.statistics import LEVEL, RESAMPLES
from vera.settings import Settings
from vera.versions import bundle_report, library_versions


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """The circumstances of an evaluation.

    Attributes:
        date: Day and time (UTC) of the measurement.
        machine: Processor and operating system.
        versions: Of VerA, Python and libraries.
        bundle: Name, version and engine hashes.
        people: How many, by the number of their photographs.
        settings: Seed, all settings of the anonymizer, and how the intervals were made.
        matchers: Name, hash, threshold, false-accept rate, calibration and role of each.
        calibrations: What the folder to calibrate with gave.
        notes: Sentences that a reader must not miss.
    """

    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    bundle: Mapping[str, Any]
    people: Mapping[str, int]
    settings: Mapping[str, Any]
    matchers: Sequence[Mapping[str, Any]]
    calibrations: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


def gather(
    people: Sequence[Person],
    makers: Makers,
    matchers: Sequence[Matcher],
    calibrations: Sequence[Calibration],
    notes: Sequence[str],
) -> Facts:
    """The facts of an evaluation of this machine, now."""
    return Facts(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=machine(),
        versions=library_versions(),
        bundle=_bundle(makers.bundle),
        people=_counts(people),
        settings={"seed": makers.seed, **Settings(**makers.options).options()}
        | {"interval": LEVEL, "resamples": RESAMPLES},
        matchers=[
            {
                "name": one.name,
                "label": one.label,
                "sha256": one.sha256,
                "threshold": one.threshold,
                "false_accept_rate": one.false_accept_rate,
                "calibration": one.calibration,
                "role": one.role,
            }
            for one in matchers
        ],
        calibrations=[asdict(one) for one in calibrations],
        notes=list(notes),
    )


def machine() -> dict[str, Any]:
    """Processor, cores of this process, and operating system; not the machine's name."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    except OSError:  # not Linux
        pass
    cores = len(os.sched_getaffinity(0))
    return {"processor": processor, "cores": cores, "system": platform.system()}


def _bundle(bundle: Bundle) -> dict[str, Any]:
    told = bundle_report(bundle)
    return {"name": told.name, "version": told.version, "engines": dict(told.engines)}


def _counts(people: Sequence[Person]) -> dict[str, int]:
    return {
        "people": len(people),
        "photographs": sum(len(person.photos) for person in people),
        "people_with_pairs": sum(bool(person.pairs) for person in people),
        "pairs": sum(len(person.pairs) for person in people),
    }
