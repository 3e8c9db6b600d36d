"""Compares drawn and moved people, by the gate and by a recogniser of yours.

    python bench/margin.py FOLDER --judge recogniser.onnx --count 20 --out runs/margin

FOLDER holds photographs; the judge is an ONNX recogniser with its card (docs/gate.md). Each
photograph is inverted once; then both methods get the same inversion. Writes ``figures.json`` and
contact sheets (original | drawn, original | moved): they show the originals, so keep them to
yourself.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from vera.bundle import load_bundle
from vera.case.draw import draw_faces
from vera.engines import OnnxEngines
from vera.errors import RefusedError
from vera.face.appearance import appearance
from vera.face.faces import find_faces
from vera.files.photo import read_photo
from vera.gate.gate import Gate
from vera.gate.recogniser import Recogniser
from vera.identity.inversion import InversionConfig, invert
from vera.identity.margin import movable, move_identity, nearest, propose_moved
from vera.identity.margin_loss import MarginConfig
from vera.identity.proposals import Source, parts_of, propose
from vera.region.regions import kept_mask
from vera.region.subject import Subject
from vera.request.keep import Keep
from vera.settings import Settings


class Bench:
    """Both methods on one photograph after the other."""

    def __init__(self, judge: Path, keep: str, seed: int) -> None:
        self.judge, self.keep, self.seed = Recogniser(judge), Keep.parse(keep), seed
        self.bundle = load_bundle()
        self.engines = OnnxEngines(self.bundle, threads=1)
        self.gate = Gate(self.bundle.gate.cosine_threshold)

    def photograph(self, path: Path) -> dict:
        """Figures of one photograph by method, with the images."""
        photo = read_photo(path).image
        face = find_faces(photo, self.engines)[0][0]
        kept = np.zeros(photo.shape[:2], bool)
        face.box.cut(kept)[...] = kept_mask(face.shares, self.keep, face.matrix, face.box)
        subject = Subject(photo, face, kept, self.keep.classes)
        config = InversionConfig.suited(self.bundle)
        size = photo.shape[:2]
        latents = invert([face], [size], self.engines, self.bundle, config, _silent).latents
        wanted, source, settings = appearance([face], latents), Source((self.seed,)), Settings()
        bank = self.bundle.identities
        case = movable([subject], latents, parts_of(settings), settings)
        found = bank.codes[nearest(bank, wanted, 2)]
        still = MarginConfig(high=1.0, low=-1.0, steps=0)
        rest = move_identity(case, found[0], found, self.engines, still).report.cosine_before
        drawn = propose(latents, wanted, [subject.kept_classes], bank, source, settings)
        moved = propose_moved(case, self.bundle, self.engines, source.words)
        found = {"photo": photo, "neighbour": rest}
        for method, proposals in (("draw", drawn), ("margin", moved)):
            found[method] = self._finished(subject, proposals)
        return found

    def _finished(self, subject: Subject, proposals) -> dict:
        began = time.process_time()
        try:
            person = draw_faces(
                [subject], proposals, (self.seed,), self.engines, self.bundle, self.gate
            )
        except RefusedError as error:
            return {"refused": error.reason, "seconds": time.process_time() - began}
        output, five = person.drawn[0].output, subject.face.points
        seconds = time.process_time() - began
        a, b = self.judge.embed(subject.photo, five), self.judge.embed(output, five)
        return {
            "image": output,
            "portrait": person.portrait,
            "gate": person.drawn[0].check.cosine,
            "judge": float(a @ b),
            "draws": person.drawn[0].draws,
            "seconds": seconds,
        }


def sheet(pairs, path: Path, side: int = 384) -> None:
    """Rows of original and output, four pairs to a row."""
    import cv2

    tiles = []
    for original, output in pairs:
        both = [
            cv2.resize(x, (side, side * x.shape[0] // x.shape[1]), interpolation=cv2.INTER_AREA)
            for x in (original, output)
        ]
        both = [np.pad(x[:side], ((0, max(0, side - len(x))), (0, 0), (0, 0))) for x in both]
        tiles.append(np.concatenate(both, 1))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 2)
    rows = [np.concatenate(tiles[i : i + 2], 1) for i in range(0, len(tiles), 2)]
    cv2.imwrite(str(path), np.concatenate(rows)[:, :, ::-1])


def summary(rows: list[dict], method: str) -> dict:
    """Figures of one method over all photographs."""
    done = [row[method] for row in rows if "image" in row[method]]
    people = np.stack([one["portrait"] for one in done])
    between = (people @ people.T)[np.triu_indices(len(people), 1)]
    spread = {
        name: [round(float(np.percentile([one[name] for one in done], q)), 3) for q in (50, 95)]
        for name in ("gate", "judge", "seconds", "draws")
    }
    return {
        "anonymised": len(done),
        "refused": len(rows) - len(done),
        "median and 95th percentile": spread,
        "people alike, median and largest cosine": [
            round(float(np.median(between)), 3),
            round(float(between.max()), 3),
        ],
    }


def _silent(done: float) -> None:
    """Progress that nobody watches."""


def main() -> None:
    """Runs the photographs and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--keep", default="none")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.judge, args.keep, args.seed)
    files = sorted(p for p in args.folder.iterdir() if p.suffix == ".jpg")
    chosen = files[:: max(1, len(files) // args.count)][: args.count]
    rows = [bench.photograph(path) for path in chosen]
    figures = {method: summary(rows, method) for method in ("draw", "margin")}
    figures["neighbour"] = round(float(np.median([row["neighbour"] for row in rows])), 3)
    figures["photographs"] = len(rows)
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))
    for i in range(0, len(rows), 4):
        shown = [
            (row["photo"], row[method].get("image", row["photo"]))
            for row in rows[i : i + 4]
            for method in ("draw", "margin")
        ]
        sheet(shown, args.out / f"sheet_{i:03d}.png")


if __name__ == "__main__":
    main()
