"""What a benchmark found, as the JSON file holds it; the schema is ``bench.schema.json``."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from vera.benchmark.agreement import Agreement
from vera.benchmark.cold import ColdStart
from vera.benchmark.memory import Memory
from vera.benchmark.quantiles import Interval
from vera.benchmark.stages import StageTable
from vera.errors import UsageError
from vera.files.write import write_text

# Raised when a field changes its meaning or goes away; new fields leave it as it is.
FORMAT = 1

ScenarioName = Literal["single-stream", "offline", "server", "sweep"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What came out while the time was measured.

    Attributes:
        photos_refused: Photographs that were refused.
        loss: Mean final loss of the inversions.
        cosine: Largest cosine of an output to its original.
        kept_difference: Largest difference of a kept pixel, in grey levels.
        steps: Mean number of gradient steps of a case.
    """

    photos_refused: int = 0
    loss: float | None = None
    cosine: float | None = None
    kept_difference: int = 0
    steps: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """One target under one load.

    Attributes:
        target: Its name.
        scenario: Of the load.
        clients: How many asked at a time; None in an open loop.
        rate: Arrivals a second; None in a closed loop.
        seconds: From the first query due to the last answer.
        queries: Asked.
        completed: Of these, answered.
        rejected: By a full queue.
        expired: Given up by their deadline.
        failed: By other errors.
        throughput: Cases completed a second; an interval in a closed loop only.
        most_in_flight: How many queries were on their way at once, at most.
        steady: How many completed ones the throughput is counted from: in a closed loop those that
            ended after the first answer and while all clients were busy. 0: from the whole load,
            its first and last moments included, as in open loops and where there were too few.
        latency: Mean, p50, p90, p95, p99 of the completed ones, in seconds; a quantile is None
            where there are too few samples.
        slowest: The longest latency.
        queue: Seconds waited before the work began, as ``latency``; None if the target does not
            tell.
        work: Seconds worked on, likewise.
        in_work: Mean number of cases in work; None likewise.
        accuracy: What came out.
        latencies: All of them, for comparisons.
        failure: Class of the first failure, in ``vera.errors``; its sentence may name an address.
        bound_s: Of the server scenario: what all but 1 % of the queries must stay below.
        within: Of the server scenario: share of the queries that did, rejected ones counted as not.
        held: Of the server scenario: whether the bound was held.
    """

    target: str
    scenario: ScenarioName
    clients: int | None
    rate: float | None
    seconds: float
    queries: int
    completed: int
    rejected: int
    expired: int
    failed: int
    throughput: Interval
    most_in_flight: int
    steady: int
    latency: Mapping[str, Interval | None]
    slowest: float | None
    queue: Mapping[str, Interval | None] | None
    work: Mapping[str, Interval | None] | None
    in_work: float | None
    accuracy: Accuracy
    latencies: tuple[float, ...] = ()
    failure: str | None = None
    bound_s: float | None = None
    within: float | None = None
    held: bool | None = None


@dataclass(frozen=True, slots=True)
class MemoryMark:
    """Memory at one moment.

    Attributes:
        after: What was done before.
        queries: How many queries had been asked of all targets.
        memory: In bytes.
    """

    after: str
    queries: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class Record:
    """A whole benchmark.

    Attributes:
        environment: What the figures depend on.
        request: The arguments.
        targets: What each target is.
        agreement: Of the targets' pictures.
        runs: The loads, in order.
        stages: Where the time of a case goes; None if not asked for.
        cold_starts: Fresh processes.
        memory: At the beginning and after each scenario.
        complete: False if an error or Ctrl-C ended it early.
        format: Of the file.
    """

    environment: Mapping[str, Any]
    request: Mapping[str, Any]
    targets: Mapping[str, Mapping[str, Any]]
    agreement: tuple[Agreement, ...] = ()
    runs: tuple[Run, ...] = ()
    stages: StageTable | None = None
    cold_starts: tuple[ColdStart, ...] = ()
    memory: tuple[MemoryMark, ...] = ()
    complete: bool = True
    format: int = field(default=FORMAT)

    def to_json(self) -> str:
        """JSON text; seconds to the microsecond, shares to six digits."""
        told = _rounded(asdict(self))
        return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)


def schema() -> dict[str, Any]:
    """The JSON schema of a record."""
    text = (resources.files("vera.benchmark") / "bench.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def write_record(path: Path, record: Record) -> None:
    """Writes a record.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(path, record.to_json() + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """A record as JSON, checked against the schema.

    Raises:
        UsageError: It is missing, or no record of this format.
    """
    import jsonschema

    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        jsonschema.validate(told, schema())
    except OSError as error:
        raise UsageError(
            f"The record '{path}' cannot be read ({error.strerror}); give a file that vera bench "
            "--json wrote."
        ) from error
    except (ValueError, jsonschema.ValidationError) as error:
        raise UsageError(
            f"'{path}' is no record of vera bench of format {FORMAT}; make it again with this "
            "version."
        ) from error
    return told


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
