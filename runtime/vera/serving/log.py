"""The log: one JSON object per line on standard error, which Triton passes on.

What identifies never goes in: no names, no ids of a client's, no text of an exception that is not
ours. Requests are told apart by random numbers.
"""

import json
import secrets
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

Fact = str | int | float | bool | None | list[str] | Mapping[str, float]

_LOCK = threading.Lock()


def new_number() -> str:
    """A random number, 8 hexadecimal digits, by which the lines of one request belong together."""
    return secrets.token_hex(4)


def write_line(event: str, **facts: Fact) -> None:
    """Writes one line.

    Args:
        event: What happened, one word.
        **facts: Numbers and short words.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event, **facts}, allow_nan=False)
    with _LOCK:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def places(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last, without its text: that may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
