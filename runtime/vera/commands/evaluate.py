"""``vera evaluate``: a folder of photographs in, tables of what anonymising it does out."""

import argparse
import sys
from pathlib import Path

from vera.commands.parsing import (
    OK,
    Commands,
    OpenAnonymizer,
    command,
    count,
    open_anonymizer,
    positive,
)
from vera.commands.settings import add_settings, settings_of
from vera.evaluation import BASELINES
from vera.gate.judge_card import RANGES

EXAMPLES = """examples:
  vera evaluate pairs/ --keep mouth none --judge face.onnx --judge-values 0..255 \\
      --calibrate others/ --out evaluation/
  vera evaluate photos/ --pairs-by prefix --limit 3 --out trial/
  vera evaluate pairs/ --keep mouth --baselines blur swap --peer other=their_outputs/ --out e/

Outputs are kept in OUT/outputs and not made again; a later run with more rows or judges goes on
from there."""


# The others change the frame or the number of outputs, or the limit of what is measured.
_SETTINGS = ("faces", "steps", "frame", "background", "hair", "preserve", "keep_margin", "method")


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    summary = "measure what anonymising a folder of photographs protects, keeps and costs"
    parser = command(commands, "evaluate", _run, summary, EXAMPLES)
    add = parser.add_argument
    add("source", type=Path, metavar="FOLDER", help="photographs, or a table case,photo (CSV)")
    add("--out", type=Path, required=True, help="folder of outputs, tables and report.md")
    add(
        "--pairs-by",
        choices=("folder", "prefix"),
        default="folder",
        help="one person per sub-folder, or per name before the first underscore; "
        "default: %(default)s",
    )
    add("--limit", type=positive, metavar="N", help="the first N people only")
    _add_rows(parser)
    _add_matchers(parser)
    add("--seed", type=count, default=0, help="of all cases; default: %(default)s")
    add("--bundle", type=Path, help="folder of a bundle; default: the one in the package")
    add("--threads", type=positive, help="threads of the engines; default: all cores")
    add("--sheets", action="store_true", help="contact sheets, which show the originals")
    add_settings(parser, only=_SETTINGS)


def _add_rows(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--keep",
        nargs="+",
        default=["none"],
        metavar="REGION",
        help="one row each: mouth, nose, eyes, several joined by commas, none; default: none",
    )
    add(
        "--modes",
        nargs="+",
        choices=("single", "paired"),
        help="default: both, if anybody has two photographs",
    )
    add("--baselines", nargs="+", choices=BASELINES, default=[], help="further rows")
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="outputs of another system, named like the photographs; repeatable",
    )


def _add_matchers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--judge",
        action="append",
        type=Path,
        default=[],
        metavar="MODEL.onnx",
        help="a recogniser of yours, with its card MODEL.json if there is one; it only measures "
        "here, where vera anonymize --judge refuses what it recognises; repeatable",
    )
    add(
        "--judge-values",
        choices=tuple(RANGES),
        help="range of all judges' input, after an equals sign (=-1..1); default: their cards'",
    )
    add("--judge-threshold", type=float, help="of all judges; default: their cards'")
    add(
        "--independent",
        action="append",
        default=[],
        metavar="NAME",
        help="a judge that you know to be independent of VerA's training; repeatable",
    )
    add(
        "--calibrate",
        type=Path,
        metavar="FOLDER",
        help="thresholds from pairs of known people; writes the judges' cards",
    )
    add(
        "--false-accept-rate",
        type=float,
        default=0.001,
        metavar="SHARE",
        help="of --calibrate; default: %(default)s",
    )


def _run(args: argparse.Namespace, opened: OpenAnonymizer) -> int:
    # Here and not above: other commands must work where the extension does not load.
    from vera.evaluation.command import run_command

    settings = settings_of(args)
    report = run_command(args, settings, lambda: open_anonymizer(args, opened), _say)
    print(f"report    {report}\ntables    {args.out / 'tables'}\nfigures   {args.out}/figures.json")
    return OK


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
