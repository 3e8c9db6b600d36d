"""``vera bench`` behind its parser: arguments become targets and a plan, loads become a record."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vera.benchmark.agreement import Agreement, require_agreement
from vera.benchmark.cold import ColdStart, cold_start
from vera.benchmark.compare import compare_records, compare_targets
from vera.benchmark.environment import differences, environment
from vera.benchmark.memory import memory
from vera.benchmark.opening import Openers, Targets, open_targets, server_name
from vera.benchmark.photos import photographs, synthetic_faces
from vera.benchmark.plots import write_plots
from vera.benchmark.quantiles import require_extra
from vera.benchmark.record import MemoryMark, Record, Run, read_record, write_record
from vera.benchmark.scenario import Bench, Plan, best_rates, queries_over
from vera.benchmark.stages import StageTable, measure_stages
from vera.benchmark.tables import write_comparisons, write_tables
from vera.benchmark.target import Query
from vera.errors import UsageError
from vera.files.write import prepare_folder

LOADS = ("single-stream", "offline", "server", "sweep")
_AGREEING = 2  # queries whose results are compared


def run_comparison(one: Path, other: Path) -> None:
    """Prints what two records differ in.

    Raises:
        UsageError: One of them is no record, or they have no load in common.
    """
    require_extra()
    first, second = read_record(one), read_record(other)
    found = compare_records(first, second)
    if not found:
        raise UsageError(
            "The two records have no load in common; give the same --scenario, --clients and "
            "--rate."
        )
    told = differences(first["environment"], second["environment"])
    write_comparisons(found, told, sys.stdout)


def run_command(args: argparse.Namespace, openers: Openers, say: Callable[[str], None]) -> Record:
    """Carries out ``vera bench``.

    Args:
        args: As parsed by ``vera.commands.bench``.
        openers: How targets are opened.
        say: Takes lines of progress.

    Returns:
        What was found; it is written and printed. So is what was finished before an error or
        Ctrl-C, which then goes on.

    Raises:
        UsageError: The request makes no sense.
        EngineError: Targets disagree, or one failed.
        OutputError: A file cannot be written.
    """
    require_extra()
    if args.out is not None:
        prepare_folder(args.out)
    with _queries(args, openers, say) as queries:
        photos = [path for one in queries for path in one.photos]
        # Before the loads: the load of the machine is to be that of others.
        surroundings = environment(photos, openers.bundle() if _local(args) else None)
        found = _Findings()
        try:
            _measure(args, openers, queries, say, found)
            found.complete = True
        finally:
            record = found.record(surroundings, _request(args))
            if found.complete or record.runs or record.stages or record.cold_starts:
                _write(record, args, say)
    return record


@dataclass(slots=True)
class _Findings:
    """What was found so far."""

    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    cold: list[ColdStart] = field(default_factory=list)
    memory: list[MemoryMark] = field(default_factory=list)
    stages: StageTable | None = None
    complete: bool = False

    def record(self, surroundings: Mapping[str, Any], request: Mapping[str, Any]) -> Record:
        return Record(
            environment=surroundings,
            request=request,
            targets=self.targets,
            agreement=tuple(self.agreement),
            runs=tuple(self.runs),
            stages=self.stages,
            cold_starts=tuple(self.cold),
            memory=tuple(self.memory),
            complete=self.complete,
        )


def _measure(
    args: argparse.Namespace,
    openers: Openers,
    queries: Sequence[Query],
    say: Callable[[str], None],
    found: _Findings,
) -> None:
    """All scenarios, those with targets first: what they leave behind is theirs alone."""
    loads = [name for name in args.scenario if name in LOADS]
    if loads:
        with Targets() as targets:
            open_targets(args, openers, targets)
            found.targets = targets.about
            query = queries_over(queries, args.seed)
            bench = Bench(targets.opened, query, _plan(args), say, runs=found.runs)
            found.memory.append(_mark("opening", bench, args))
            say("warm-up, and whether all targets do the same work")
            bench.warm_up()
            for name, versions in bench.versions.items():
                found.targets[name]["versions"] = versions
                _tell_differences(bench.targets[0].name, name, bench.versions, say)
            found.agreement = require_agreement(targets.opened, queries[:_AGREEING])
            for scenario in loads:
                bench.run(scenario)
                found.memory.append(_mark(scenario, bench, args))
    if "stages" in args.scenario:
        found.stages = _stages(args, openers, queries, say)
    if "cold" in args.scenario:
        for start in _cold(args, openers, queries[0], say):
            found.cold.append(start)


def _local(args: argparse.Namespace) -> bool:
    """Whether engines run in this process."""
    return bool(args.local or args.baseline or "stages" in args.scenario or not args.photos)


@contextmanager
def _queries(
    args: argparse.Namespace, openers: Openers, say: Callable[[str], None]
) -> Iterator[list[Query]]:
    options = {} if args.steps is None else {"steps": args.steps}
    with tempfile.TemporaryDirectory(prefix="vera-bench-") as scratch:
        if args.photos:
            files = photographs(args.photos)
        else:
            say("synthetic faces")
            bundle = openers.bundle()
            engines = openers.engines(bundle, args.threads)
            files = synthetic_faces(Path(scratch), bundle, engines, args.seed)
        yield [Query((path,), args.keep, args.seed, options) for path in files]


def _tell_differences(
    first: str, name: str, versions: Mapping[str, Mapping[str, str]], say: Callable[[str], None]
) -> None:
    """Says which libraries of a target are other versions than the first target's."""
    one, other = versions[first], versions[name]
    found = [f"{key} {other.get(key)}, not {one[key]}" for key in one if one[key] != other.get(key)]
    if found:
        say(f"note: {name} has {'; '.join(found)}: pictures need not equal those of {first}")


def _plan(args: argparse.Namespace) -> Plan:
    return Plan(
        queries=args.queries,
        seconds=args.seconds,
        clients=tuple(sorted(set(args.clients))),
        rounds=args.rounds,
        warmup=args.warmup,
        rate=args.rate,
        bound_s=args.bound,
        seed=args.seed,
    )


def _stages(
    args: argparse.Namespace,
    openers: Openers,
    photos: Sequence[Query],
    say: Callable[[str], None],
) -> StageTable:
    say("stages")
    bundle = openers.bundle()
    count = min(args.queries, 4 * len(photos))
    query = queries_over(photos, args.seed)
    cases = [query(number) for number in range(count)]
    return measure_stages(cases, openers.engines(bundle, args.threads), bundle)


def _cold(
    args: argparse.Namespace, openers: Openers, query: Query, say: Callable[[str], None]
) -> Iterator[ColdStart]:
    say("cold start")
    if args.local:
        names = ("bundle", "threads", "workers", "device")
        opening = {name: getattr(args, name) for name in names}
        yield cold_start("local", query, opening, args.processes)
    for number, connection in enumerate(openers.connections):
        opening = {"connection": connection}
        yield cold_start(server_name(args, number), query, opening, args.processes)


def _mark(after: str, bench: Bench, args: argparse.Namespace) -> MemoryMark:
    return MemoryMark(after, bench.asked, memory(args.server_pid))


def _request(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that decide the figures; addresses and paths are not told."""
    names = (
        *("scenario", "clients", "queries", "seconds", "rounds", "warmup", "rate", "bound"),
        *("deadline", "keep", "steps", "seed", "threads", "workers", "queue", "device"),
        "baseline",
    )
    told = {name: getattr(args, name) for name in names}
    own = bool(args.photos)
    return {**told, "photos": "given" if own else "synthetic", "targets": len(args.url)}


def _write(record: Record, args: argparse.Namespace, say: Callable[[str], None]) -> None:
    runs = [asdict(run) for run in record.runs]
    first = record.runs[0].target if record.runs else ""
    write_tables(record, compare_targets(runs, first), sys.stdout)
    for target, rate in best_rates(record.runs).items():
        told = "none that was tried" if rate is None else f"{rate:.3g} a second"
        print(f"largest rate held by {target}: {told}")
    if not record.complete:
        say("note: ended early; this is what was finished")
    if args.json is not None:
        write_record(args.json, record)
    if args.out is not None:
        write_record(args.out / "bench.json", record)
        for path in write_plots(args.out, record):
            say(f"plot {path}")
