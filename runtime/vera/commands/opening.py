"""Opening an anonymizer by its flags: once in the command's process, again in each worker."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera.commands.parsing import OpenAnonymizer, OpenedAnonymizer, positive
from vera.errors import UsageError
from vera.gate.judge_card import RANGES

if TYPE_CHECKING:
    from vera.client.connection import Connection
    from vera.judge import Judge


@dataclass(frozen=True, slots=True)
class JudgeFile:
    """A recogniser of the user's.

    Attributes:
        path: ONNX file.
        options: ``threshold`` and ``values`` as far as they were given.
    """

    path: Path
    options: tuple[tuple[str, Any], ...]

    def open(self) -> "Judge":
        """The recogniser.

        Raises:
            UsageError: It is missing or not usable.
        """
        from vera.judge import Judge

        return Judge.open(self.path, **dict(self.options))


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens an anonymizer; can be sent to another process.

    Attributes:
        bundle: Its folder; None is the one in the package.
        threads: Of each engine; None takes all cores.
        judges: The user's recognisers.
        opened: Called in place of ``vera.Anonymizer``.
        connection: A server that does the cases; nothing of the above is then given.
    """

    bundle: Path | None
    threads: int | None
    judges: tuple[JudgeFile, ...] = ()
    opened: OpenAnonymizer = None
    connection: "Connection | None" = None

    def __call__(self, judges: "Sequence[Judge] | None" = None) -> OpenedAnonymizer:
        """Open one.

        Args:
            judges: The recognisers, if they are open already.

        Raises:
            VeraError: The bundle or a recogniser is not usable.
        """
        if self.connection is not None:
            return _over(self.connection)
        if judges is None:
            judges = [judge.open() for judge in self.judges]
        more: dict[str, Any] = {"judges": judges} if judges else {}
        if self.opened is not None:
            return self.opened(self.bundle, threads=self.threads, **more)
        from vera.anonymizer import Anonymizer

        return Anonymizer(self.bundle, threads=self.threads, **more)


def _over(connection: "Connection") -> OpenedAnonymizer:
    from vera.anonymizer import Anonymizer

    return Anonymizer(connection=connection)


def add_opening(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the anonymizer itself."""
    add = parser.add_argument_group("networks").add_argument
    add("--bundle", type=Path, help="folder of a bundle; default: the one in the package")
    add(
        "--threads",
        type=positive,
        help="threads of the engines of each worker; default: all cores, shared by the workers",
    )
    add(
        "--judge",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL.onnx",
        help="a recogniser of yours that has to agree, too; may be repeated",
    )
    add(
        "--judge-values",
        choices=tuple(RANGES),
        action="append",
        default=[],
        help="range of the pixels that it takes, after an equals sign (=-1..1); one for all judges "
        "or one for each",
    )
    add(
        "--judge-threshold",
        type=float,
        action="append",
        default=[],
        metavar="COSINE",
        help="cosine from which it sees the same person; one for all judges or one for each",
    )


def threads_of_each(threads: int | None, workers: int, cores: int) -> int | None:
    """Threads of each worker's engines.

    Args:
        threads: Value of ``--threads``.
        workers: How many share the cores.
        cores: Of this process.

    Returns:
        As given, or a fair share; None leaves all cores to a single worker.
    """
    if threads is not None or workers == 1:
        return threads
    return max(1, cores // workers)


def judges_of(args: argparse.Namespace) -> tuple[JudgeFile, ...]:
    """The recognisers of the flags.

    Raises:
        UsageError: The numbers of flags do not fit together.
    """
    judges: list[Path] = args.judge
    values = _for_each(args.judge_values, len(judges), "--judge-values")
    thresholds = _for_each(args.judge_threshold, len(judges), "--judge-threshold")
    return tuple(
        JudgeFile(
            path,
            tuple(
                (name, value)
                for name, value in (("threshold", threshold), ("values", scale))
                if value is not None
            ),
        )
        for path, scale, threshold in zip(judges, values, thresholds, strict=True)
    )


def _for_each(given: Sequence[Any], judges: int, flag: str) -> Sequence[Any]:
    if len(given) not in (0, 1, judges) or (given and not judges):
        raise UsageError(
            f"Got {len(given)} {flag} for {judges} --judge; give one for all or one for each."
        )
    return given if len(given) == judges else (*given, None)[:1] * judges


def judge_digest(judge: "Judge") -> str:
    """Everything that decides what a recogniser says."""
    return f"{judge.sha256} {judge.values} {judge.threshold}"
