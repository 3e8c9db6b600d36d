"""The targets of a command line, opened."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vera.benchmark.target import Anonymizers, Clients, OneAtATime, Target
from vera.bundle import Bundle
from vera.client.connection import Connection
from vera.engines import Engines

# Of the final losses of a server, whose processor and libraries may round the last bits otherwise,
# which an inversion carries on from step to step, and of a GPU, whose last bits depend on the
# batch. With the same libraries, on the same kind of processor, a server's pictures are equal.
_ELSEWHERE = 0.05


@dataclass(frozen=True, slots=True)
class Openers:
    """How the command opens what it measures.

    Attributes:
        bundle: The networks of this process.
        engines: Opens engines of so many threads; None takes all cores.
        anonymizer: Called with the arguments of ``vera.Anonymizer``.
        baselines: Further targets by name, each opened by a bundle's folder and a number of threads
            or None.
        connections: How the servers are reached, in the order of ``--url``.
    """

    bundle: Callable[[], Bundle]
    engines: Callable[[Bundle, int | None], Engines]
    anonymizer: Callable[..., Any]
    baselines: Mapping[str, Callable[[Path, int | None], Target]]
    connections: Sequence[Connection] = ()


@dataclass(slots=True)
class Targets:
    """Opened targets, the one that others are compared with first; use as a context manager.

    Attributes:
        opened: They.
        about: What each is, by its name.
    """

    opened: list[Target] = field(default_factory=list)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Targets":
        """Nothing to do: targets are opened by :meth:`add`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes all of them."""
        self._stack.close()

    def add(self, target: Target, about: Mapping[str, Any]) -> None:
        """Takes a target over."""
        self._stack.callback(target.close)
        self.opened.append(target)
        self.about[target.name] = dict(about)


def open_targets(args: argparse.Namespace, openers: Openers, targets: Targets) -> None:
    """Opens what the arguments name into ``targets``, baselines first.

    Raises:
        VeraError: One cannot be opened, or a server does not answer.
    """
    if "one-at-a-time" in args.baseline:
        inner, about = _local(args, openers, 1) if args.local else _server(args, openers, 0)
        targets.add(OneAtATime("one-at-a-time", inner, time.perf_counter), about)
    for name in args.baseline:
        if name in openers.baselines:
            made = openers.baselines[name](openers.bundle().folder, args.threads)
            targets.add(made, {"workers": 1})
    if args.local:
        targets.add(*_local(args, openers, args.workers))
    for number in range(len(args.url)):
        targets.add(*_server(args, openers, number))


def server_name(args: argparse.Namespace, number: int) -> str:
    """Name of the server at a place of ``--url``; its address is not told."""
    return f"server {number + 1}" if len(args.url) > 1 else "server"


def _local(
    args: argparse.Namespace, openers: Openers, workers: int
) -> tuple[Target, dict[str, Any]]:
    sizes = {"threads": args.threads, "workers": workers, "queue": args.queue}
    about = {**sizes, "device": args.device}
    inside = openers.anonymizer(args.bundle, **about)
    tolerance = 0.0 if args.device == "cpu" else _ELSEWHERE
    target = Anonymizers(
        "local", inside, deadline_s=args.deadline, tolerance=tolerance, slots=workers
    )
    return target, about


def _server(
    args: argparse.Namespace, openers: Openers, number: int
) -> tuple[Target, dict[str, Any]]:
    name, connection = server_name(args, number), openers.connections[number]
    about: dict[str, Any] = {}

    def open_client() -> Target:
        remote = openers.anonymizer(None, url=connection.url, connection=connection)
        server = remote.cases.server  # asked here, not at the first case
        about.update(asdict(server))
        return Anonymizers(
            name, remote, deadline_s=args.deadline, tolerance=_ELSEWHERE, slots=server.slots
        )

    return Clients(name, open_client), about
