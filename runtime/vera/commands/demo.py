"""``vera demo``: the main job on pictures that anybody has."""

import argparse
import sys
from pathlib import Path

from vera.commands.parsing import (
    OK,
    REFUSED,
    Commands,
    OpenAnonymizer,
    command,
    count,
    open_anonymizer,
    positive,
)


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    summary = "anonymise a portrait of an astronaut and a pair of a synthetic person"
    parser = command(commands, "demo", _run, summary)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--seed", type=count, default=1, help="default: %(default)s")
    parser.add_argument("--bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--threads", type=positive, help="default: all cores")


def _run(args: argparse.Namespace, opened: OpenAnonymizer) -> int:
    from vera.demo import run_demo
    from vera.engines import OnnxEngines

    anonymizer = open_anonymizer(args, opened)
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
