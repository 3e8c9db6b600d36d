"""``vera bench``: latency, throughput and what comes out, in process and on servers."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera.commands.connection import add_access, connection_of
from vera.commands.parsing import OK, Commands, OpenAnonymizer, command, count, positive

if TYPE_CHECKING:
    from vera.benchmark.opening import Openers
    from vera.client.connection import Connection

EXAMPLES = """examples:
  vera bench --local --scenario stages single-stream
  vera bench --local --baseline one-at-a-time --scenario sweep --clients 1 2 4 8 --out bench/
  vera bench --local --url grpc://localhost:8001 --scenario single-stream --json overhead.json
  vera bench --url grpc://localhost:8001 --scenario server --bound 10
  vera bench --url grpcs://faces.example:443 --tls-cert me.pem --tls-key me.key
  vera bench --compare before.json after.json

Every target gets the same cases with the same seeds, and its pictures are compared before anything
is timed. See docs/benchmark.md for what is counted."""

_SCENARIOS = ("stages", "single-stream", "offline", "server", "sweep", "cold")
_BASELINES = ("one-at-a-time", "eager")


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    summary = "measure latency, throughput, memory and what comes out, here or on a server"
    parser = command(commands, "bench", run, summary, EXAMPLES)
    add = parser.add_argument
    add(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("ONE.json", "OTHER.json"),
        help="ratios of two records with intervals; nothing is measured",
    )
    add("--out", type=Path, help="folder for bench.json and plots")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    _add_targets(parser)
    add_access(parser.add_argument_group("access to the servers").add_argument)
    _add_cases(parser)
    _add_loads(parser)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is measured").add_argument
    add("--local", action="store_true", help="this process; the default without --url")
    add("--url", action="append", default=[], help="a server (grpc:// or http://); repeatable")
    add(
        "--baseline",
        nargs="+",
        choices=_BASELINES,
        default=[],
        help="further targets: one request at a time with all threads, eager PyTorch",
    )
    add("--bundle", type=Path, help="folder of a bundle; default: the one in the package")
    add("--workers", type=positive, help="cases at a time in process; default: one per core")
    add("--threads", type=positive, help="shared by all workers; default: all cores")
    add("--queue", type=count, default=64, help="further cases that wait; default: %(default)s")
    add(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="of the engines in process; default: %(default)s",
    )
    add("--server-pid", type=positive, metavar="PID", help="tell this server's memory, too")


def _add_cases(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("cases").add_argument
    add(
        "--photos",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="files or folders, one case each; default: faces of synthetic people",
    )
    add("--keep", default="mouth", metavar="REGION", help="default: %(default)s")
    add("--steps", type=count, help="of the inversion; default: as vera anonymize")
    add("--seed", type=count, default=1, help="of cases and arrivals; default: %(default)s")


def _add_loads(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("loads").add_argument
    add(
        "--scenario",
        nargs="+",
        choices=_SCENARIOS,
        default=["single-stream"],
        help="default: single-stream",
    )
    add(
        "--clients",
        type=positive,
        nargs="+",
        default=[1, 2, 4, 8, 16],
        metavar="N",
        help="of the sweep; offline takes the largest; default: 1 2 4 8 16",
    )
    add(
        "--queries",
        type=positive,
        default=32,
        help="of each load, two for each client at least; default: %(default)s",
    )
    add("--seconds", type=_seconds, help="begin no further query of a load after this")
    add(
        "--rounds",
        type=positive,
        default=4,
        help="alternations of targets, fewer where a client would ask less than four times in "
        "each; default: %(default)s",
    )
    add(
        "--warmup",
        type=count,
        default=2,
        help="uncounted queries, before as many at once as a load asks (at most two a slot); "
        "0: none; default: %(default)s",
    )
    add("--rate", type=_seconds, help="arrivals a second; default: look for the largest")
    add(
        "--bound",
        type=_seconds,
        metavar="SECONDS",
        help="of 99 %% of the arrivals; default: five times the median of one client of the first "
        "target",
    )
    add("--deadline", type=_seconds, metavar="SECONDS", help="of every query, waiting included")
    add("--processes", type=positive, default=3, help="of the cold start; default: %(default)s")


def run(
    args: argparse.Namespace,
    opened: OpenAnonymizer,
    *,
    baselines: Mapping[str, Callable[..., Any]] | None = None,
) -> int:
    """Runs the command; ``baselines`` are further ones by name, see ``Openers.baselines``."""
    from vera.benchmark.command import run_command, run_comparison

    if args.compare:
        run_comparison(*args.compare)
        return OK
    args.local = args.local or not args.url
    args.workers = args.workers or len(os.sched_getaffinity(0))
    known = baselines or {}
    if "eager" in args.baseline and "eager" not in known:
        _say(
            "The baseline eager is left out: it needs PyTorch and the trained weights; run python "
            "bench/serving.py with the same arguments in a clone with the extra export."
        )
        args.baseline = [name for name in args.baseline if name != "eager"]
    run_command(args, _openers(args, opened, known), _say)
    return OK


def _openers(
    args: argparse.Namespace, opened: OpenAnonymizer, baselines: Mapping[str, Callable[..., Any]]
) -> "Openers":
    from vera.anonymizer import Anonymizer
    from vera.benchmark.opening import Openers
    from vera.bundle import load_bundle
    from vera.engines import OnnxEngines

    return Openers(
        bundle=lambda: load_bundle(args.bundle),
        engines=lambda bundle, threads: OnnxEngines(bundle, threads=threads, device=args.device),
        anonymizer=opened or Anonymizer,
        baselines=baselines,
        connections=_connections(args),
    )


def _connections(args: argparse.Namespace) -> "list[Connection]":
    """The servers, with the same access; without retries, which would hide rejected queries."""
    found = []
    for url in args.url or [None]:
        # The deadline is that of a query, here or on a server.
        asked = argparse.Namespace(**{**vars(args), "url": url, "deadline": None})
        connection = connection_of(asked)
        if connection is not None:
            found.append(replace(connection, retries=0))
    return found


def _seconds(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
