"""What each edit of ``vera edit`` does, measured on drawn people.

    python bench/edits.py [--people 12] [--photos PHOTO ...]

Aims: what was asked and what the attributes engine saw. Other edits: the mean change of the pixels
inside the part, before or after, and outside of it, in grey levels. Both: the cosine to the face
before the edit by the embedder, and the agreement of generator and parser about the part map.
"""

import argparse
from pathlib import Path

import numpy as np

from vera.contract import CLASSES, LATENT_ROWS, shape_row, texture_row
from vera.editing import Editor, Step, parse_edit
from vera.editing.grammar import Aim, Mix

AIMS = (
    *("pose=yaw:+10", "pose=yaw:-10", "pose=yaw:+20", "pose=yaw:-20"),
    *("pose=pitch:+5", "pose=pitch:-5", "mouth-open=+0.1", "age=+20", "age=-20"),
    *(f"expression={name}" for name in ("happy", "neutral", "sad", "angry", "surprise")),
)
PARTS = ("hair", "eyes", "brows", "nose", "mouth", "ears", "skin", "neck", "cloth", "background")
MIXES = (
    *(f"{part}=draw:{{}}" for part in PARTS),
    *("hair.shape=draw:{}", "hair.texture=draw:{}", "mouth=draw:{}@0.5"),
    *(
        f"{code}=draw:{{}}"
        for code in ("identity", "expression", "pose", "age", "person", "coarse")
    ),
    "truncation=0.7",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=12, help="drawn people (default: 12)")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="instead of these")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    editor = Editor(threads=arguments.threads)
    faces = [editor.from_photo(photo) for photo in arguments.photos]
    faces = faces or [editor.draw(seed) for seed in range(1, arguments.people + 1)]
    print(f"{len(faces)} {'photographs' if arguments.photos else 'drawn people'}")
    print("| edit | asked | measured | reached | cosine | agreement lost |")
    print("| --- | --- | --- | --- | --- | --- |")
    for text in AIMS:
        print(aim_row(text, [editor.edit(face, [text]) for face in faces]), flush=True)
    print(
        "\n| edit | inside | outside | cosine | agreement lost |\n| --- | --- | --- | --- | --- |"
    )
    for text in MIXES:
        donors = range(1001, 1001 + len(faces))
        runs = [editor.edit(f, [text.format(d)]) for f, d in zip(faces, donors, strict=True)]
        print(mix_row(text, runs), flush=True)


def aim_row(text: str, runs: list[list[Step]]) -> str:
    """One line of the first table: means, and how many people reached what was asked."""
    reached = [run[1].reached for run in runs]
    aim = parse_edit(text)
    assert isinstance(aim, Aim)
    expression = aim.change is None
    asked = "0.9" if expression else f"{aim.change:+g}"
    got = np.array([r.after if expression else r.after - r.before for r in reached if r])
    start = f" (from {np.mean([r.before for r in reached if r]):.2f})" if expression else ""
    whole = sum(r.whole for r in reached if r)
    measured = f"{got.mean():+.2f}{start}, {got.min():+.2f} to {got.max():+.2f}"
    return f"| `{text}` | {asked} | {measured} | {whole} of {len(runs)} | {shared(runs)} |"


def mix_row(text: str, runs: list[list[Step]]) -> str:
    """One line of the second table."""
    edit = parse_edit(text.format(1))
    classes = classes_of(edit.rows) if isinstance(edit, Mix) else []
    inside, outside = [], []
    for before, after in runs:
        change = np.abs(after.look.image.astype(float) - before.look.image).mean(2)
        part = np.isin(before.look.labels, classes) | np.isin(after.look.labels, classes)
        inside += [change[part].mean()] if part.any() else []
        outside.append(change[~part].mean())
    told = f"{np.mean(inside):.1f}" if inside else "-"
    shown = text.format("SEED")
    return f"| `{shown}` | {told} | {np.mean(outside):.1f} | {shared(runs)} |"


def classes_of(rows: tuple[int, ...]) -> list[int]:
    """The classes whose own rows are among ``rows``; none where other codes are, too."""
    own = {row: k for k in range(len(CLASSES)) for row in (shape_row(k), texture_row(k))}
    if len(rows) == LATENT_ROWS or any(row not in own for row in rows):
        return []
    return sorted({own[row] for row in rows})


def shared(runs: list[list[Step]]) -> str:
    """Cosine to the start and agreement lost, the last two columns."""
    cosine = np.mean([run[1].cosine_to_start for run in runs])
    lost = np.mean([run[0].look.agreement - run[1].look.agreement for run in runs])
    return f"{cosine:.2f} | {lost:.3f}"


if __name__ == "__main__":
    main()
