"""``vera anonymize``: photographs, a folder or a table in, anonymised images and reports out."""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from vera.cases import collect_cases
from vera.commands.parsing import (
    INTERRUPTED,
    OK,
    REFUSED,
    Commands,
    OpenAnonymizer,
    command,
    count,
    open_anonymizer,
    positive,
)
from vera.display import Display, summary_lines
from vera.job import JobConfig, JobSummary, run_job
from vera.photo import PIXEL_LIMIT

EXAMPLES = """examples:
  vera anonymize before.jpg --keep mouth --out out/
  vera anonymize before.jpg after.jpg --keep mouth --out out/   one person, one new identity
  vera anonymize cases/ --keep eyes,brows --out out/ --seed 7   one case per sub-folder; resumes

exit codes: 0 all anonymized, 1 an error of VerA, 2 usage, 3 some photographs refused (the rest
are done), 130 interrupted"""


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = command(commands, "anonymize", _run, "anonymise photographs", EXAMPLES)
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
    add("--seed", type=count, help="repeatable draws; default: a new random seed")
    add("--faces", choices=("all", "largest"), default="all", help="default: %(default)s")
    add("--steps", type=count, help="most steps of the inversion; default: as tuned")
    add("--bundle", type=Path, help="folder of a bundle; default: the one in the package")
    add("--threads", type=positive, help="threads of the engines; default: all cores")
    add("--pixel-limit", type=positive, default=PIXEL_LIMIT, help="default: %(default)s pixels")
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


def _run(args: argparse.Namespace, opened: OpenAnonymizer) -> int:
    cases = collect_cases(args.input, keep=args.keep, out=args.out, table=args.cases)
    anonymizer = open_anonymizer(args, opened)
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
