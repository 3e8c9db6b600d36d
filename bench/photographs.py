"""Anonymises a folder of photographs and judges the outputs with a recogniser that VerA never saw.

    python bench/photographs.py FOLDER --judge recogniser.onnx --keep mouth --out runs/london
    [--pairs]

FOLDER holds photographs and ``landmarks.json`` (per file ``points``: five points in pixels). The
judge takes ArcFace crops [n, 3, 112, 112] RGB 0..255 and returns embeddings. With --pairs, files
that share the part of the name before the first underscore are one person, and are treated as one
case. Writes ``figures.json`` and contact sheets (original | output): they show the originals, so
keep them to yourself.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from vera import Anonymizer
from vera.align import ARCFACE, crop_matrix, warp_to_crop
from vera.photo import read_photo


class Judge:
    """Cosine of two faces by a recogniser given as ONNX, aligned by the given points."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def embed(self, image, points):
        crop = warp_to_crop(image, crop_matrix(np.asarray(points, np.float64), ARCFACE), 112)
        tensor = crop.transpose(2, 0, 1)[None].astype(np.float32)
        embedding = self.session.run(None, {self.input: tensor})[0][0]
        return embedding / np.linalg.norm(embedding)


def cases_of(folder: Path, pairs: bool) -> list[list[Path]]:
    """One case per photograph, or per person."""
    files = sorted(p for p in folder.iterdir() if p.suffix == ".jpg")
    if not pairs:
        return [[p] for p in files]
    people = defaultdict(list)
    for p in files:
        people[p.stem.split("_")[0]].append(p)
    return list(people.values())


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


def main() -> None:
    """Runs the folder and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--keep", default="mouth")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--threshold", type=float, default=0.4, help="judge's cosine that must not be passed"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    anonymizer, judge = Anonymizer(args.bundle), Judge(args.judge)
    points = json.loads((args.folder / "landmarks.json").read_text())
    verdicts, reasons, cosines, within, seconds = Counter(), Counter(), [], [], []
    kept_pixels = worst = outside = 0
    shown, rows = [], []
    for k, case in enumerate(cases_of(args.folder, args.pairs)[: args.limit]):
        start = time.perf_counter()
        results = anonymizer.anonymize(case, keep=args.keep, seed=args.seed + k)
        seconds.append((time.perf_counter() - start) / len(case))
        outputs = []
        for path, result in zip(case, results, strict=True):
            report = result.report
            verdicts[report.verdict] += 1
            if result.image is None:
                reasons[report.reason] += 1
                rows.append(
                    {"verdict": "refused", "reason": report.reason, "message": report.message}
                )
                continue
            original = read_photo(path).image
            five = points[path.name]["points"]
            a, b = judge.embed(original, five), judge.embed(result.image, five)
            cosines.append(float(a @ b))
            outputs.append(b)
            kept_pixels += report.kept.pixels_compared
            worst = max(worst, report.kept.max_difference)
            same = (original == result.image).all(2)
            outside += int(same.sum())
            rows.append(
                {
                    "verdict": report.verdict,
                    "judge": cosines[-1],
                    "ours": report.faces[0].identity_cosine,
                    "draws": report.faces[0].draws,
                    "unchanged": float(same.mean()),
                }
            )
            shown.append((original, result.image))
            if len(shown) == 8:
                sheet(shown, args.out / f"sheet_{k:03d}.png")
                shown = []
        if len(outputs) == 2:
            within.append(float(outputs[0] @ outputs[1]))
    if shown:
        sheet(shown, args.out / "sheet_last.png")
    figures = {
        "folder": args.folder.name,
        "keep": args.keep,
        "verdicts": dict(verdicts),
        "reasons": dict(reasons),
        "kept_pixels_compared": kept_pixels,
        "kept_max_difference": worst,
        "judge_cosine": {
            "median": float(np.median(cosines)),
            "p95": float(np.percentile(cosines, 95)),
            "largest": float(max(cosines)),
            "threshold": args.threshold,
            "share_under": float(np.mean(np.array(cosines) < args.threshold)),
        },
        "within_pairs": {
            "pairs": len(within),
            "median": float(np.median(within)),
            "p5": float(np.percentile(within, 5)),
        }
        if within
        else None,
        "seconds_per_photo": {
            "median": float(np.median(seconds)),
            "p95": float(np.percentile(seconds, 95)),
        },
    }
    (args.out / "figures.json").write_text(json.dumps({**figures, "photos": rows}, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
