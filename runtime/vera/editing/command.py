"""What ``vera edit`` does: its arguments checked, carried out, told and written."""

import argparse
import sys
from collections.abc import Sequence

from vera.editing.earlier import RECORD, earlier_files, remove_earlier
from vera.editing.editor import Editor, Progress
from vera.editing.grammar import parse_edit, parse_share, parse_target
from vera.editing.latent_file import save_latents
from vera.editing.record import record
from vera.editing.sheet import part_map, strip
from vera.editing.state import Face, Image, Step
from vera.errors import UsageError
from vera.files.write import prepare_folder, write_animation, write_image, write_text

_REAL_PERSON = (
    "vera: warning: these pictures are made from a photograph of a person and show that person; "
    "they are not anonymised."
)
_PERSONAL_LATENTS = (
    "vera: warning: the saved latents rebuild that person's face; keep them as you keep the "
    "photograph."
)
_DEFAULT_FRAMES = 8


def run(args: argparse.Namespace) -> int:
    """Carries out ``vera edit``; returns the exit code.

    Raises:
        VeraError: It could not be done.
    """
    check(args)
    return carry_out(args, Editor(args.bundle, threads=args.threads))


def check(args: argparse.Namespace) -> None:
    """Finds mistakes in the arguments before anything is loaded.

    Raises:
        UsageError: They make no sense.
    """
    given = [args.photo is not None, args.latents is not None, args.draw is not None]
    if sum(given) != 1:
        raise UsageError(
            f"One face is edited at a time, got {sum(given)}; name a photograph, --latents or "
            "--draw."
        )
    _require(args.photo, ("face", "in_place", "steps"), args, "a photograph")
    _require(args.draw is not None, ("truncation",), args, "--draw (use --edit truncation=PSI)")
    _require(args.to, ("frames",), args, "--to")
    if args.frames is not None and args.frames < 2:
        raise UsageError(f"--frames must be at least 2, got {args.frames}; both ends are shown.")
    if args.save_latents is not None and args.save_latents.suffix != ".npz":
        raise UsageError("--save-latents takes a file that ends in .npz; name it so.")
    for text in args.edit:
        parse_edit(text)
    for text in args.to:
        parse_target(text)
    if args.truncation is not None:
        parse_share(args.truncation, "--truncation")
    earlier = earlier_files(args.out)
    if earlier and not args.overwrite:
        raise UsageError(
            f"The output folder holds {len(earlier)} files of earlier edits; choose another one or "
            "add --overwrite."
        )
    wanted = {args.out / name for name in (RECORD, *_names(args))}
    foreign = sum(path.exists() for path in wanted.difference(earlier))
    if foreign:
        raise UsageError(
            f"The output folder holds {foreign} files that are named like those to be written and "
            "are not of earlier edits; move them or choose another folder."
        )


def carry_out(args: argparse.Namespace, editor: Editor) -> int:
    """Does what checked arguments ask for; no file is written before all pictures are made.

    Returns:
        The exit code.

    Raises:
        VeraError: It could not be done; unless it is an OutputError, no file was written.
    """
    say = _announcer()
    face = _open(args, editor, say)
    steps = editor.edit(face, [parse_edit(text) for text in args.edit], progress=say)
    last = steps[-1]
    targets: list[Step] = []
    frames: list[Image] = []
    if args.to:
        start = Face(last.latents, face.origin, last.personal, face.embedding)
        targets = editor.edit(start, [parse_target(text) for text in args.to], progress=say)
        way = [step.latents for step in targets]
        frames = editor.frames(way, args.frames or _DEFAULT_FRAMES)
    placed = editor.in_place(face, last.latents) if args.in_place else None
    prepare_folder(args.out)
    if args.save_latents is not None:
        save_latents(args.save_latents, last.latents, editor.bundle, personal=last.personal)
    remove_earlier(args.out)
    # The record first: what is listed in it is ours, also after a run that was killed.
    names = _names(args)
    write_text(args.out / RECORD, record(steps, face.origin, editor.bundle, targets, names))
    _write(args, steps, frames, placed)
    _tell(steps, targets, args)
    return 0


def _require(present: object, names: tuple[str, ...], args: argparse.Namespace, what: str) -> None:
    for name in names:
        value = getattr(args, name)
        if not present and value is not None and value is not False:
            raise UsageError(
                f"--{name.replace('_', '-')} goes with {what}; leave it out or add it."
            )


def _names(args: argparse.Namespace) -> tuple[str, ...]:
    """The pictures that checked arguments ask for."""
    steps = range(len(args.edit) + 1)
    names = [f"edited_{i}.png" for i in steps]
    names += [f"parts_{i}.png" for i in steps if args.segmentation]
    names.append("strip.png")
    if args.to:
        names += _frame_names(args.frames or _DEFAULT_FRAMES)
        names.append("interpolation.webp")
    if args.in_place:
        names.append("in_place.png")
    return tuple(names)


def _frame_names(count: int) -> list[str]:
    return [f"frame_{i:0{len(str(count - 1))}}.png" for i in range(count)]


def _open(args: argparse.Namespace, editor: Editor, say: Progress) -> Face:
    if args.latents is not None:
        return editor.from_file(args.latents)
    if args.draw is not None:
        share = 1.0 if args.truncation is None else parse_share(args.truncation, "--truncation")
        return editor.draw(args.draw, truncation=share)
    return editor.from_photo(
        args.photo,
        face=args.face or 1,
        steps=args.steps,
        pixel_limit=args.pixel_limit,
        progress=say,
    )


def _write(
    args: argparse.Namespace, steps: list[Step], frames: list[Image], placed: Image | None
) -> None:
    for i, step in enumerate(steps):
        write_image(args.out / f"edited_{i}.png", step.look.image)
        if args.segmentation:
            write_image(args.out / f"parts_{i}.png", part_map(step.look.labels))
    write_image(args.out / "strip.png", strip(steps))
    for name, frame in zip(_frame_names(len(frames)), frames, strict=True):
        write_image(args.out / name, frame)
    if frames:
        write_animation(args.out / "interpolation.webp", frames)
    if placed is not None:
        write_image(args.out / "in_place.png", placed)


def _tell(steps: Sequence[Step], targets: Sequence[Step], args: argparse.Namespace) -> None:
    for i, step in enumerate(steps):
        print(f"edited_{i}.png  {_told(step)}")
    for step in targets[1:]:
        print(f"interpolated to  {_told(step)}")
    print(f"All of it at a glance: {args.out / 'strip.png'}")
    if steps[-1].personal or any(step.personal for step in targets):
        print(_REAL_PERSON, file=sys.stderr)
    if steps[-1].personal and args.save_latents is not None:
        print(_PERSONAL_LATENTS, file=sys.stderr)


def _told(step: Step) -> str:
    line = f"{step.label}  cosine to the start {step.cosine_to_start:.2f}"
    reached = step.reached
    if reached is None:
        return line
    line += f"; {reached.before:.2f} -> {reached.after:.2f}, asked {reached.wanted:.2f}"
    return line + (f" ({reached.stopped})" if reached.stopped else "")


def _announcer() -> Progress:
    """Tells each stage once."""
    told = [""]

    def say(stage: str, fraction: float) -> None:
        if stage != told[-1]:
            told.append(stage)
            print(f"{stage} ...", file=sys.stderr, flush=True)

    return say
