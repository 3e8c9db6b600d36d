"""``vera edit``: a face changed part by part, from a photograph, saved latents or a seed."""

import argparse
from pathlib import Path

from vera.commands.parsing import Commands, OpenAnonymizer, command, count, positive
from vera.files.photo import PIXEL_LIMIT

_EXAMPLES = """edits, carried out in the order given; @0.5 at the end goes half of the way:
  hair=draw:7             hair of the synthetic person with seed 7; any part, or .shape, .texture
  eyes=face.npz           eyes of saved latents; also identity, expression, pose, age, person, all
  pose=yaw:+15            turned by 15 degrees as measured; or pitch
  expression=happy        until it measures so; mouth-open=+0.1, age=+20
  truncation=0.7          towards the mean face

examples:
  vera edit --draw 3 --edit hair=draw:7 --edit pose=yaw:+15 --out out/
  vera edit photo.jpg --edit expression=happy --in-place --out out/
  vera edit --draw 3 --to draw:9 --frames 16 --out out/

Pictures made from a photograph show the person in it: nothing here anonymises."""


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = command(commands, "edit", _run, "change a face part by part", _EXAMPLES)
    add = parser.add_argument
    add("photo", nargs="?", type=Path, help="a photograph; its largest face is inverted")
    add("--latents", type=Path, metavar="NPZ", help="a saved face instead of a photograph")
    add("--draw", type=count, metavar="SEED", help="a synthetic person instead of a photograph")
    add("--truncation", metavar="PSI", help="of --draw: 0 the mean face to 1; default: 1")
    add("--face", type=positive, metavar="N", help="N-th largest face of the photograph")
    add("--edit", action="append", default=[], metavar="EDIT", help="see below; repeatable")
    add(
        "--to",
        action="append",
        default=[],
        metavar="FACE",
        help="interpolate to draw:SEED, a latents file or an edit; repeatable, one after the other",
    )
    add("--frames", type=positive, help="pictures of --to; default: 8")
    add("--segmentation", action="store_true", help="write the part map of each step, too")
    add("--in-place", action="store_true", help="put the last step back into the photograph")
    add(
        "--save-latents",
        type=Path,
        metavar="NPZ",
        help="write the last step as latents; of a photograph these are personal data",
    )
    add("--out", type=Path, required=True, help="output folder")
    add("--overwrite", action="store_true", help="replace the edits that the folder holds")
    add("--steps", type=count, help="most steps of the inversion; default: as tuned")
    add("--pixel-limit", type=positive, default=PIXEL_LIMIT, help="default: %(default)s pixels")
    add("--bundle", type=Path, help="folder of a bundle; default: the one in the package")
    add("--threads", type=positive, help="threads of the engines; default: all cores")


def _run(args: argparse.Namespace, _: OpenAnonymizer) -> int:
    # Loaded only now: the other subcommands must work without the extension, to say what is broken.
    from vera.editing.command import run

    return run(args)
