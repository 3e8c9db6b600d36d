"""Cold start: a fresh process to its first result, as ``python -m vera.benchmark.cold``."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vera.benchmark.quantiles import Interval, mean
from vera.benchmark.target import Query
from vera.client.connection import Connection
from vera.errors import EngineError

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Means over fresh processes, in seconds.

    Attributes:
        target: What was opened.
        runs: Processes.
        total: From the start of the process to its first result.
        starting: Of it, Python and its imports.
        opening: Of it, ``vera.Anonymizer(...)``; a server's own start is not in it.
        first: Of it, the first case, which opens the engines.
        peak_bytes: Largest resident size of the process.
    """

    target: str
    runs: int
    total: Interval
    starting: Interval
    opening: Interval
    first: Interval
    peak_bytes: int


def cold_start(
    target: str, query: Query, opening: Mapping[str, Any], runs: int, *, module: str = __name__
) -> ColdStart:
    """Starts fresh processes, one after the other, each of which does one case.

    Args:
        target: Name for the record.
        query: The case.
        opening: Arguments of ``vera.Anonymizer``.
        runs: How many processes.
        module: What they run.

    Raises:
        EngineError: A process failed.
    """
    told = [_run(module, query, opening) for _ in range(runs)]
    return ColdStart(
        target=target,
        runs=runs,
        total=mean([one["total_s"] for one in told]),
        starting=mean([one["total_s"] - one["opening_s"] - one["first_s"] for one in told]),
        opening=mean([one["opening_s"] for one in told]),
        first=mean([one["first_s"] for one in told]),
        peak_bytes=max(int(one["peak_bytes"]) for one in told),
    )


def _run(module: str, query: Query, opening: Mapping[str, Any]) -> dict[str, float]:
    connection = opening.get("connection")
    request = {
        "photos": query.photos,
        "case": {"keep": query.keep, "seed": query.seed, **query.options},
        "opening": {**opening, "connection": None if connection is None else asdict(connection)},
    }
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(request, default=str),  # not as arguments, which other users may see
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    total = time.perf_counter() - begin
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(f"A fresh process gave no result ({said}); run vera check.")
    return {**json.loads(done.stdout.splitlines()[-1]), "total_s": total}


def main(arguments: Sequence[str] = ()) -> int:
    """One case in this process; the request is JSON on standard input, the times on its output."""
    import vera
    from vera.benchmark.memory import memory

    request = json.load(sys.stdin)
    opening = request["opening"]
    opening["connection"] = _connection(opening.get("connection"))
    begin = time.perf_counter()
    anonymizer = vera.Anonymizer(**opening)
    opened = time.perf_counter()
    anonymizer.anonymize(request["photos"], **request["case"])
    ended = time.perf_counter()
    told = {
        "opening_s": opened - begin,
        "first_s": ended - opened,
        "peak_bytes": memory().process_peak,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _connection(told: Mapping[str, Any] | None) -> Connection | None:
    """A connection that came as JSON."""
    if told is None:
        return None
    files = {name: Path(told[name]) for name in told if name.endswith("_file") and told[name]}
    return Connection(**{**told, **files, "headers": tuple(map(tuple, told["headers"]))})


if __name__ == "__main__":
    raise SystemExit(main())
