"""``edits.json``: what was done and what was measured, without names of files."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vera.bundle import Bundle
from vera.editing.state import Origin, Reached, Reading, Step
from vera.versions import bundle_report, library_versions

_DIGITS = 4


def record(
    steps: Sequence[Step],
    origin: Origin,
    bundle: Bundle,
    targets: Sequence[Step] = (),
    files: Sequence[str] = (),
) -> str:
    """The text of ``edits.json``.

    Args:
        steps: Of one face, the first is the face before all edits.
        origin: Where the face came from.
        bundle: What edited it.
        targets: The corners of the interpolation, the first is where it starts.
        files: Names of the pictures that belong to it.
    """
    content = {
        "files": list(files),
        "source": origin,
        "shows_a_real_person": any(step.personal for step in (*steps, *targets)),
        "bundle": asdict(bundle_report(bundle)),
        "versions": library_versions(),
        "steps": _entries(steps),
        "interpolation": _entries(targets),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _entries(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [_entry(i, step, steps[max(0, i - 1)]) for i, step in enumerate(steps)]


def _entry(number: int, step: Step, before: Step) -> dict[str, Any]:
    return {
        "edit": step.label,
        "cosine_to_start": round(step.cosine_to_start, _DIGITS),
        "cosine_to_photo": _rounded(step.cosine_to_photo),
        "agreement_of_part_maps": round(step.look.agreement, _DIGITS),
        "measured": _measured(step.look.reading),
        "changed": _change(step.look.reading, before.look.reading) if number else None,
        "aim": None if step.reached is None else _aim(step.reached),
    }


def _measured(reading: Reading) -> dict[str, Any]:
    return {
        "yaw": _rounded(reading.yaw),
        "pitch": _rounded(reading.pitch),
        "mouth_open": _rounded(reading.mouth_open),
        "age": _rounded(reading.age),
        "expression": {name: _rounded(value) for name, value in reading.expression.items()},
    }


def _change(after: Reading, before: Reading) -> dict[str, Any]:
    moved = sum(abs(after.expression[k] - before.expression[k]) for k in after.expression) / 2
    return {
        "yaw": _rounded(after.yaw - before.yaw),
        "pitch": _rounded(after.pitch - before.pitch),
        "mouth_open": _rounded(after.mouth_open - before.mouth_open),
        "age": _rounded(after.age - before.age),
        "expression": _rounded(moved),  # total variation distance, 0 to 1
    }


def _aim(reached: Reached) -> dict[str, Any]:
    return {
        "before": _rounded(reached.before),
        "wanted": _rounded(reached.wanted),
        "after": _rounded(reached.after),
        "reached": reached.whole,
        "stopped": reached.stopped,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
