"""The command ``vera``: arguments in, the library called, exit code out."""

import argparse
import hashlib
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from vera import check as checks
from vera.bundle import load_bundle
from vera.cases import collect_cases
from vera.display import Display, summary_lines
from vera.errors import RefusedError, UsageError, VeraError
from vera.job import AnonymizerLike, JobConfig, JobSummary, run_job
from vera.photo import PIXEL_LIMIT
from vera.versions import __version__

OK, FAILED, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130

_EXAMPLES = """examples:
  vera anonymize before.jpg --keep mouth --out out/
  vera anonymize before.jpg after.jpg --keep mouth --out out/   one person, one new identity
  vera anonymize cases/ --keep eyes,brows --out out/ --seed 7   one case per sub-folder; resumes

exit codes: 0 all anonymized, 1 an error of VerA, 2 usage, 3 some photographs refused (the rest
are done), 130 interrupted"""


class OpenedAnonymizer(AnonymizerLike, Protocol):
    """An anonymizer that knows its bundle; see :class:`vera.anonymizer.Anonymizer`."""

    @property
    def bundle(self) -> Any:
        """The bundle; only ``manifest`` is looked at."""


def main(
    argv: Sequence[str] | None = None,
    *,
    open_anonymizer: Callable[..., OpenedAnonymizer] | None = None,
) -> int:
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
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vera {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_anonymize(commands)
    _add_demo(commands)
    _add_check(commands)
    _add_bundle(commands)
    return parser


Commands = Any  # argparse has no public name for what add_subparsers returns


def _command(
    commands: Commands, name: str, run: Callable[..., int], summary: str, epilog: str = ""
) -> argparse.ArgumentParser:
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


def _add_anonymize(commands: Commands) -> None:
    parser = _command(commands, "anonymize", _anonymize, "anonymise photographs", _EXAMPLES)
    add = parser.add_argument
    add("input", nargs="*", type=Path, help="photographs of one person, or one folder of cases")
    add("--cases", type=Path, metavar="CSV", help="table with the columns case,photo[,keep][,mask]")
    add(
        "--keep",
        default="none",
        help="mouth, nose, eyes, brows, several joined by commas, a mask file (white is kept), "
        "or none; default: %(default)s",
    )
    add("--out", type=Path, required=True, help="output folder")
    add("--seed", type=_count, help="repeatable draws; default: a new random seed")
    add("--faces", choices=("all", "largest"), default="all", help="default: %(default)s")
    add("--steps", type=_count, help="most steps of the inversion; default: as tuned")
    add("--bundle", type=Path, help="folder of a bundle; default: the one in the package")
    add("--threads", type=_positive, help="threads of the engines; default: all cores")
    add("--pixel-limit", type=_positive, default=PIXEL_LIMIT, help="default: %(default)s pixels")
    add(
        "--format", choices=("png", "jpg"), default="png", help="jpg is lossy; default: %(default)s"
    )
    add(
        "--names",
        choices=("numbered", "random", "original"),
        default="numbered",
        help="names of the outputs; original names often name the person; default: %(default)s",
    )
    add("--overwrite", action="store_true", help="do finished and refused photographs again")


def _add_demo(commands: Commands) -> None:
    summary = "anonymise a portrait of an astronaut and a pair of a synthetic person"
    parser = _command(commands, "demo", _demo, summary)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--seed", type=_count, default=1, help="default: %(default)s")
    parser.add_argument("--bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--threads", type=_positive, help="default: all cores")


def _add_check(commands: Commands) -> None:
    parser = _command(commands, "check", _check, "show what is installed and whether it works")
    parser.add_argument("--bundle", type=Path, help="folder of a bundle")


def _add_bundle(commands: Commands) -> None:
    bundle = commands.add_parser("bundle", help="look into a bundle")
    show = _command(
        bundle.add_subparsers(required=True, metavar="COMMAND"),
        "show",
        _show_bundle,
        "verify a bundle and show what it holds",
    )
    show.add_argument("path", type=Path, nargs="?", help="default: the one in the package")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1, got 0")
    return int(text)


def _open(
    args: argparse.Namespace, open_anonymizer: Callable[..., OpenedAnonymizer] | None
) -> OpenedAnonymizer:
    if open_anonymizer is not None:
        return open_anonymizer(args.bundle, threads=args.threads)
    from vera.anonymizer import Anonymizer

    return Anonymizer(args.bundle, threads=args.threads)


def _anonymize(
    args: argparse.Namespace, open_anonymizer: Callable[..., OpenedAnonymizer] | None
) -> int:
    cases = collect_cases(args.input, keep=args.keep, out=args.out, table=args.cases)
    anonymizer = _open(args, open_anonymizer)
    manifest = json.dumps(dict(anonymizer.bundle.manifest), sort_keys=True)
    config = JobConfig(
        out=args.out,
        bundle=hashlib.sha256(manifest.encode()).hexdigest(),
        seed=args.seed,
        faces=args.faces,
        steps=args.steps,
        pixel_limit=args.pixel_limit,
        format=args.format,
        names=args.names,
        overwrite=args.overwrite,
    )
    display = Display(cases, named=args.names == "original")
    summary = JobSummary()
    try:
        with display.running():
            run_job(
                anonymizer,
                cases,
                config,
                summary=summary,
                finished=display.finished,
                progress=display.stage,
            )
    except KeyboardInterrupt:
        print(
            f"vera: interrupted with {summary.done} of {summary.photos} photographs done; the same "
            "command does the rest.",
            file=sys.stderr,
        )
        return INTERRUPTED
    print("\n".join(summary_lines(summary, args.out)))
    return REFUSED if summary.refused else OK


def _demo(args: argparse.Namespace, open_anonymizer: Callable[..., OpenedAnonymizer] | None) -> int:
    from vera.demo import run_demo
    from vera.engines import OnnxEngines

    anonymizer = _open(args, open_anonymizer)
    shown = run_demo(
        anonymizer,
        OnnxEngines(anonymizer.bundle, threads=args.threads),
        anonymizer.bundle.identities,
        args.out,
        seed=args.seed,
        say=lambda line: print(f"{line} ...", file=sys.stderr, flush=True),
    )
    for item in shown:
        result = item.anonymized or f"refused: {item.message}"
        print(f"{item.original}\n  anonymized  {result}\n  report      {item.report}")
    print(f"All of it at a glance: {args.out / 'overview.png'}")
    return OK if all(item.anonymized for item in shown) else REFUSED


def _check(args: argparse.Namespace, _: object) -> int:
    rows = checks.check(args.bundle)
    _print_rows(rows)
    broken = sum(not row.ok for row in rows)
    print(f"{broken} broken" if broken else "everything needed is there")
    return FAILED if broken else OK


def _show_bundle(args: argparse.Namespace, _: object) -> int:
    _print_rows(checks.describe_bundle(load_bundle(args.path)))
    return OK


def _print_rows(rows: Sequence[checks.Row]) -> None:
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{'ok    ' if row.ok else 'BROKEN'}  {row.name:<{width}}  {row.value}")
