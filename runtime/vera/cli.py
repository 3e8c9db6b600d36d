"""The command ``vera``: arguments in, one subcommand run, exit code out."""

import argparse
import sys
import traceback
from collections.abc import Sequence

from vera.commands import anonymize, bench, demo, edit, evaluate, installation, rate, report, serve
from vera.commands.parsing import FAILED, INTERRUPTED, OK, REFUSED, USAGE, OpenAnonymizer
from vera.errors import RefusedError, UsageError, VeraError
from vera.versions import __version__


def main(argv: Sequence[str] | None = None, *, open_anonymizer: OpenAnonymizer = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None takes the process's own.
        open_anonymizer: Called as ``Anonymizer(bundle, threads=...)``; None takes that class.

    Returns:
        The exit code: 0 done, 1 error, 2 usage, 3 some photographs refused, 130 interrupted.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as leaving:  # argparse has printed the usage or the help
        return USAGE if leaving.code else OK
    try:
        return int(args.command(args, open_anonymizer))
    except KeyboardInterrupt:
        print("vera: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        print(f"vera: {_sentence(error)}", file=sys.stderr)
        return _exit_code(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, VeraError):
        return str(error)
    return f"unexpected {type(error).__name__}; run again with --debug and report what it prints."


def _exit_code(error: Exception) -> int:
    if isinstance(error, UsageError):
        return USAGE
    return REFUSED if isinstance(error, RefusedError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vera",
        description="Anonymise clinical face photographs: another person, what is kept untouched.",
        epilog=anonymize.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vera {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    anonymize.add(commands)
    demo.add(commands)
    edit.add(commands)
    report.add(commands)
    evaluate.add(commands)
    rate.add(commands)
    serve.add(commands)
    bench.add(commands)
    installation.add_check(commands)
    installation.add_bundle(commands)
    return parser
