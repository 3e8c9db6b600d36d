"""``vera check`` and ``vera bundle show``: what is installed, and whether it works."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vera import check as checks
from vera.bundle import load_bundle
from vera.commands.connection import add_connection, connection_of, server_rows
from vera.commands.parsing import FAILED, OK, Commands, OpenAnonymizer, command


def add_check(commands: Commands) -> None:
    """Adds ``check``."""
    parser = command(commands, "check", _check, "show what is installed and whether it works")
    parser.add_argument("--bundle", type=Path, help="folder of a bundle")
    add_connection(parser)


def add_bundle(commands: Commands) -> None:
    """Adds ``bundle show``."""
    bundle = commands.add_parser("bundle", help="look into a bundle")
    show = command(
        bundle.add_subparsers(required=True, metavar="COMMAND"),
        "show",
        _show_bundle,
        "verify a bundle and show what it holds",
    )
    show.add_argument("path", type=Path, nargs="?", help="default: the one in the package")


def _check(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    connection = connection_of(args, "--bundle")
    rows = checks.check(args.bundle) if connection is None else server_rows(connection)
    _print_rows(rows)
    broken = sum(not row.ok for row in rows)
    print(f"{broken} broken" if broken else "everything needed is there")
    return FAILED if broken else OK


def _show_bundle(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    _print_rows(checks.describe_bundle(load_bundle(args.path)))
    return OK


def _print_rows(rows: Sequence[checks.Row]) -> None:
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{'ok    ' if row.ok else 'BROKEN'}  {row.name:<{width}}  {row.value}")
