"""``vera report``: an output folder as one HTML page."""

import argparse
from pathlib import Path

from vera.commands.parsing import OK, Commands, OpenAnonymizer, command, positive
from vera.errors import UsageError

_EXAMPLES = """examples:
  vera report out/                                  writes out/report.html; opens in any browser
  vera report out/ --html check.html --with-originals cases/     beside the originals: private
  vera report --schema                              the JSON Schema of a photograph's report"""


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = command(commands, "report", _run, "show an output folder as one HTML page", _EXAMPLES)
    add = parser.add_argument
    add("folder", nargs="?", type=Path, metavar="OUT", help="output folder of vera anonymize")
    add("--html", type=Path, help="the page; default: report.html in the output folder")
    add("--title", default="VerA report", help="default: %(default)s")
    add("--side", type=positive, default=640, help="longest side of pictures; default: %(default)s")
    add_originals(parser)
    add("--schema", action="store_true", help="print the JSON Schema of the reports, no more")


def add_originals(parser: argparse.ArgumentParser) -> None:
    """Adds ``--with-originals``."""
    parser.add_argument(
        "--with-originals",
        nargs="+",
        type=Path,
        metavar="PLACE",
        help="what was given to vera anonymize: the folder of cases, the table, or photographs; "
        "what is written then shows patients",
    )


def _run(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    from vera.page.build import write_page
    from vera.page.originals import find_originals
    from vera.page.read import read_outputs, schema_text

    if args.schema:
        print(schema_text(), end="")
        return OK
    if args.folder is None:
        raise UsageError("No output folder was given; name the one that vera anonymize wrote to.")
    page = args.html or args.folder / "report.html"
    if args.with_originals and page.resolve().is_relative_to(args.folder.resolve()):
        raise UsageError(
            "A page with originals must not lie in the output folder, which may be passed on; give "
            "--html with a place of its own."
        )
    found = read_outputs(args.folder)
    originals = find_originals(args.folder, args.with_originals) if args.with_originals else None
    size = write_page(found, page, title=args.title, side=args.side, originals=originals)
    print(f"photographs  {sum(1 for _ in found.outputs)}")
    print(f"faults       {len(found.faults)}")
    if originals:
        print(f"originals    {len(originals.by_output)} matched, {originals.unmatched} unmatched")
    print(f"page         {page} ({size / 1e6:.1f} MB)")
    return OK
