"""``vera anonymize``: photographs, a folder, a table or a list in, anonymised images out."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vera.batch.cases import collect_cases
from vera.batch.display import Display
from vera.batch.job import run_job
from vera.batch.job_log import JobLog
from vera.batch.output import LOG_NAME
from vera.batch.plan import JobConfig
from vera.batch.remote import RemoteCrew
from vera.batch.summary import CaseOutcome, JobSummary, summary_lines
from vera.batch.workers import Crew, OwnProcess, Workers, available_cores
from vera.commands.connection import add_connection, connection_of
from vera.commands.opening import (
    Opening,
    add_opening,
    judge_digest,
    judges_of,
    threads_of_each,
)
from vera.commands.parsing import (
    INTERRUPTED,
    OK,
    REFUSED,
    Commands,
    OpenAnonymizer,
    OpenedAnonymizer,
    command,
    count,
    positive,
)
from vera.commands.secret import secret_of
from vera.commands.settings import add_settings, settings_of
from vera.errors import UsageError
from vera.files.write import prepare_folder
from vera.request.keep import REGIONS
from vera.settings import Settings
from vera.versions import bundle_report

if TYPE_CHECKING:
    from vera.anonymizer import Anonymizer
    from vera.client.remote import RemoteCases
    from vera.wire.server import ServerContract

EXAMPLES = """examples:
  vera anonymize before.jpg --keep mouth --out out/
  vera anonymize before.jpg after.jpg --keep mouth --out out/   one person, one new identity
  vera anonymize cases/ --keep eyes,brows --out out/ --seed 7   one case per sub-folder; resumes
  vera anonymize cases/ --out out/ --workers 4 --distinct       large folders; docs/batch.md
  vera anonymize cases/ --out out/ --url grpc://localhost:8001 --workers 4   docs/protocol.md
  find . -name '*.jpg' -print0 | vera anonymize - --out out/    a list; each photograph a case

exit codes: 0 all anonymized, 1 an error of VerA, 2 usage, 3 some photographs refused (the rest
are done), 130 interrupted"""


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = command(commands, "anonymize", _run, "anonymise photographs", EXAMPLES)
    add = parser.add_argument
    add(
        "input",
        nargs="*",
        type=Path,
        help="photographs of one person, or one folder of cases, or - for a list on standard input",
    )
    add("--cases", type=Path, metavar="CSV", help="table with the columns case,photo[,keep][,mask]")
    add(
        "--keep",
        action="append",
        help=f"{', '.join(REGIONS)}, several joined by commas, a mask file (white is kept), "
        "'polygon:x,y x,y x,y', or none; may be repeated, once for each photograph; default: none",
    )
    add("--out", type=Path, required=True, help="output folder")
    add_settings(parser)
    _add_identities(parser)
    add_opening(parser)
    add_connection(parser)
    _add_output(parser)


def _add_identities(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("new identities").add_argument
    add("--seed", type=count, help="repeatable draws; default: a new random seed")
    add(
        "--secret",
        type=Path,
        metavar="FILE",
        help="draw by this secret and the case's id: the same person in every run",
    )
    add("--case-id", metavar="ID", help="id of the photographs given as arguments, for --secret")
    add("--distinct", action="store_true", help="never the same new person for two cases")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output and running").add_argument
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
    add(
        "--workers",
        type=positive,
        default=1,
        help="processes, or with --url requests at once; default: %(default)s",
    )
    add(
        "--log",
        type=Path,
        metavar="FILE",
        help=f"log of the run for machines; default: {LOG_NAME} in the output folder",
    )


def _run(args: argparse.Namespace, opened: OpenAnonymizer) -> int:
    if args.case_id is not None and args.secret is None:
        raise UsageError("--case-id does nothing without --secret; give both or none.")
    connection = connection_of(args, "--bundle", "--threads", "--judge")
    settings, files = settings_of(args), judges_of(args)
    secret = None if args.secret is None else secret_of(args.secret)
    cases = collect_cases(
        args.input,
        keep=args.keep or "none",
        out=args.out,
        table=args.cases,
        case_id=args.case_id,
        keyed=secret is not None,
        read_list=sys.stdin.buffer.read,
    )
    threads = threads_of_each(args.threads, args.workers, available_cores())
    opening = Opening(args.bundle, threads, files, opened, connection)
    judges = [file.open() for file in files]
    anonymizer = opening(judges)
    config = _config(args, settings, anonymizer.bundle, tuple(map(judge_digest, judges)), secret)
    if connection is not None:
        config = replace(config, vera=_server(anonymizer).vera)
    log = JobLog(args.log or args.out / LOG_NAME, config, args.workers)
    if args.log is not None:  # found now, not after hours
        prepare_folder(args.log.parent)
    display = Display(cases, named=args.names == "original")
    summary = JobSummary()

    def finished(outcome: CaseOutcome) -> None:
        display.finished(outcome)
        log.add(outcome)
        if args.debug and outcome.failure is not None:
            print(outcome.failure.trace, file=sys.stderr)

    try:
        with display.running(), _crew(args.workers, opening, anonymizer, display, config) as crew:
            run_job(crew, cases, config, summary=summary, finished=finished, ended=log.write)
    except KeyboardInterrupt:
        print(
            f"vera: interrupted with {summary.done} of {summary.photos} photographs done; the same "
            "command does the rest.",
            file=sys.stderr,
        )
        return INTERRUPTED
    print("\n".join(summary_lines(summary, args.out)))
    return REFUSED if summary.refused else OK


def _config(
    args: argparse.Namespace,
    settings: Settings,
    bundle: Any,
    judges: tuple[str, ...],
    secret: bytes | None,
) -> JobConfig:
    from vera.case.draw import SAME_PERSON  # here: they bring the native operations
    from vera.identity.margin import require_guide

    if settings.method == "margin":
        require_guide(bundle)

    limit = SAME_PERSON if settings.separation is None else settings.separation
    return JobConfig(
        out=args.out,
        bundle=bundle.digest,
        seed=args.seed,
        settings=settings,
        format=args.format,
        names=args.names,
        overwrite=args.overwrite,
        judges=judges,
        secret=secret,
        distinct=limit if args.distinct else None,
        networks=bundle_report(bundle),
    )


@contextmanager
def _crew(
    workers: int,
    opening: Opening,
    anonymizer: OpenedAnonymizer,
    display: Display,
    config: JobConfig,
) -> Iterator[Crew]:
    if opening.connection is not None:
        remote = cast("Anonymizer", anonymizer)
        progress = display.stage if workers == 1 else None
        with RemoteCrew(workers, remote, version=config.vera, progress=progress) as crew:
            yield crew
        remote.close()
    elif workers == 1:
        yield OwnProcess(anonymizer, progress=display.stage)
    else:
        with Workers(workers, opening) as crew:
            yield crew


def _server(anonymizer: OpenedAnonymizer) -> "ServerContract":
    remote = cast("RemoteCases", cast("Anonymizer", anonymizer).cases)
    return remote.server
