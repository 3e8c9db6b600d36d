"""``vera rate``: blind rating sheets for clinicians, and how well the answers agree."""

import argparse
from pathlib import Path

from vera.commands.parsing import OK, Commands, OpenAnonymizer, command, count, positive
from vera.commands.report import add_originals

_EXPORT = """examples:
  vera rate export out/ --out sheets/ --question "Is the lip closed?" --scale yes-no
  vera rate export out/ --out sheets/ --scale 1-5 --with-originals cases/
      also shows the kept region of each original, all else grey, as a second condition"""

_KAPPA = """example:
  vera rate kappa --key sheets/key.csv answers_1.csv answers_2.csv --out agreement/"""


def add(commands: Commands) -> None:
    """Adds ``rate export`` and ``rate kappa``."""
    rate = commands.add_parser("rate", help="blind rating sheets, and agreement of the answers")
    inner = rate.add_subparsers(required=True, metavar="COMMAND")
    sheets = command(inner, "export", _export, "write one blind sheet per rater", _EXPORT)
    add = sheets.add_argument
    add("folder", type=Path, metavar="OUT", help="output folder of vera anonymize")
    add("--out", type=Path, required=True, help="new folder for the sheets and their key")
    add("--raters", type=positive, default=2, help="default: %(default)s")
    add("--seed", type=count, help="repeatable names and orders; default: drawn anew")
    add("--question", default="How do you grade the finding?", help="default: %(default)s")
    add(
        "--scale",
        default="1-5",
        help="1-5, yes-no, labels a,b,c, or labels in order a<b<c; default: %(default)s",
    )
    add(
        "--crop",
        choices=("kept", "photo"),
        default="photo",
        help="show the whole photograph, or what lies around the kept region; default: %(default)s",
    )
    add_originals(sheets)
    agreement = command(inner, "kappa", _kappa, "how well the answers agree", _KAPPA)
    add = agreement.add_argument
    add("answers", nargs="+", type=Path, metavar="CSV", help="one filled-in table per rater")
    add("--key", type=Path, required=True, help="key.csv of the sheets")
    add("--out", type=Path, help="folder for agreement.md and agreement.json; default: print only")


def _export(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    from vera.page.originals import NONE, find_originals
    from vera.page.read import read_outputs
    from vera.rating.scale import Scale
    from vera.rating.sheet import KEY_NAME, Study, write_sheets

    scale = Scale.parse(args.scale)
    study = Study(scale, args.question, args.raters, args.crop, args.seed)
    found = read_outputs(args.folder)
    originals = find_originals(args.folder, args.with_originals) if args.with_originals else NONE
    written = write_sheets(found, args.out, study, originals=originals)
    print(f"photographs  {written.photos} on each of {args.raters} sheets")
    print(f"             {written.regions} of them also as the kept region of the original")
    if written.unshown:
        print(f"             {written.unshown} not: their original's region cannot be shown alone")
    print(f"left out     {written.left_out} without an image")
    print(f"sheets       {args.out}")
    print(f"key          {args.out / KEY_NAME}: keep it from the raters")
    return OK


def _kappa(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    from vera.files.write import prepare_folder, write_text
    from vera.rating.answers import read_all, read_key
    from vera.rating.results import agreements, to_json, to_markdown

    key = read_key(args.key)
    found = agreements(key, read_all(args.answers, key))
    text = to_markdown(key.scale, found)
    print(text, end="")
    if args.out:
        prepare_folder(args.out)
        write_text(args.out / "agreement.md", text)
        write_text(args.out / "agreement.json", to_json(key.scale, found) + "\n")
    return OK
