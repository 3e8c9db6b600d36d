"""Photographs per minute of ``vera anonymize`` by number of workers.

    python bench/workers.py FOLDER --cases 500 --workers 1 2

Takes photographs of FOLDER, again and again until there are enough, as cases of one photograph
each, and runs the command line for each number of workers into a fresh folder. The images must be
the same bit for bit, so ``--threads`` is the same for all (1 unless given). Reports one JSON line
per number of workers, with the ratio to the first. Where others use the machine, the load tells.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from timing import machine, print_json

from vera.batch.cases import PHOTO_SUFFIXES
from vera.batch.output import LOG_NAME


def photographs(folder: Path, count: int) -> list[Path]:
    """``count`` photographs of ``folder``, from the first again after the last."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        sys.exit(f"There are no photographs in {folder}.")
    return list(islice(cycle(found), count))


def run(photos: list[Path], out: Path, workers: int, arguments: list[str]) -> float:
    """Anonymise; returns the seconds of the whole command, start of the processes included."""
    command = [sys.executable, "-m", "vera", "anonymize", "-", "--out", str(out)]
    command += ["--workers", str(workers), *arguments]
    listed = b"\0".join(os.fsencode(path.resolve()) for path in photos) + b"\0"
    start = time.perf_counter()
    done = subprocess.run(command, input=listed, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 3):  # 3: some photographs refused, the same ones each time
        sys.exit(f"vera anonymize ended with {done.returncode}.")
    return time.perf_counter() - start


def digests(out: Path) -> dict[str, str]:
    """Of every image, by its name."""
    images = sorted(out.rglob("*.png"))
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in images
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="photographs, also in sub-folders")
    parser.add_argument("--cases", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--threads", type=int, default=1, help="of each; default: %(default)s")
    parser.add_argument("--out", type=Path, help="keep the outputs here; default: nowhere")
    parser.add_argument("--more", nargs="*", default=[], help="further arguments, as in --more=--x")
    args = parser.parse_args()
    photos = photographs(args.folder, args.cases)
    arguments = ["--seed", "1", "--threads", str(args.threads), *args.more]
    first_rate, first_images = 0.0, dict[str, str]()
    with tempfile.TemporaryDirectory() as scratch:
        for workers in args.workers:
            out = (args.out or Path(scratch)) / f"workers_{workers}"
            if out.exists():
                sys.exit(f"{out} is there already; outputs of another run would be resumed.")
            seconds = run(photos, out, workers, arguments)
            images, log = digests(out), json.loads((out / LOG_NAME).read_text())
            rate = log["done"] / seconds * 60
            first_rate, first_images = first_rate or rate, first_images or images
            assert images, "no photograph was anonymised"
            assert images == first_images, "the images depend on the number of workers"
            row = {"workers": workers, "threads": args.threads, "photos": log["done"]}
            row |= {"anonymized": log["anonymized"], "refused": log["refused"]}
            row |= {"seconds": round(seconds, 1), "photos_per_minute": round(rate, 2)}
            print_json(row | {"ratio": round(rate / first_rate, 3)} | machine())


if __name__ == "__main__":
    main()
