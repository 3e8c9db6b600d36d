"""What the subcommands share: their parser, values of arguments, the anonymizer they open."""

import argparse
from collections.abc import Callable
from typing import Any, Protocol

from vera.batch.casework import AnonymizerLike

OK, FAILED, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130

Commands = Any  # argparse has no public name for what add_subparsers returns


class OpenedAnonymizer(AnonymizerLike, Protocol):
    """An anonymizer that knows its bundle; see :class:`vera.anonymizer.Anonymizer`."""

    @property
    def bundle(self) -> Any:
        """The bundle: what it is called, its digest and engines are looked at."""


# Called as ``Anonymizer(bundle, threads=...)``; None stands for that class.
OpenAnonymizer = Callable[..., OpenedAnonymizer] | None


def command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace, OpenAnonymizer], int],
    summary: str,
    epilog: str = "",
) -> argparse.ArgumentParser:
    """A subcommand ``name`` that is carried out by ``run``, which returns the exit code."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(command=run)
    return parser


def count(text: str) -> int:
    """A whole number from 0 to 2^63 - 1."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if count(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1, got 0")
    return int(text)


def open_anonymizer(args: argparse.Namespace, opened: OpenAnonymizer) -> OpenedAnonymizer:
    """The anonymizer of ``--bundle`` and ``--threads``."""
    if opened is not None:
        return opened(args.bundle, threads=args.threads)
    from vera.anonymizer import Anonymizer

    return Anonymizer(args.bundle, threads=args.threads)
