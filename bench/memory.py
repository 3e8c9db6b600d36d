"""Peak memory of anonymising one large photograph, in a process of its own.

    python bench/memory.py [--megapixels 24] [--keep none]

The photograph is scikit-image's astronaut, enlarged and extended to 3:2, so that the face is large
too: the worst case for temporaries at the photograph's resolution. Prints one line of JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make_photograph(path: Path, megapixels: float) -> None:
    """Writes a 3:2 JPEG of about that many megapixels."""
    import cv2
    from skimage import data

    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    image = cv2.resize(data.astronaut(), (height, height), interpolation=cv2.INTER_CUBIC)
    side = (round(height * 1.5) - height) // 2
    wide = cv2.copyMakeBorder(image, 0, 0, side, side, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(path), wide[:, :, ::-1])


def anonymize(path: Path, keep: str) -> dict[str, object]:
    """Runs in the child: the whole job on one file, as `vera anonymize` does it."""
    from vera.cli import main

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        code = main(["anonymize", str(path), "--keep", keep, "--out", out, "--seed", "6"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "exit": code,
        "peak_gb": round(peak / 1e9, 3),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    """Makes the photograph, then measures in a fresh process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--keep", default="none")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(anonymize(args.child, args.keep)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        make_photograph(path, args.megapixels)
        command = [sys.executable, __file__, "--child", str(path), "--keep", args.keep]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(
            json.dumps({"megapixels": args.megapixels, **json.loads(done.stdout.splitlines()[-1])})
        )


if __name__ == "__main__":
    main()
