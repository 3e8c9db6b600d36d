"""How often a case key gives a person the same new identity in photographs of different moments.

    python bench/key.py FOLDER --out runs/key [--steps N]

FOLDER holds photographs whose names are equal before the first underscore for one person. Each is
anonymised alone, with the person's key; the names of the identities are compared, and the new
people's portraits, beside those of different people.
"""

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from vera import Anonymizer
from vera.key import CaseKey

_SECRET = bytes(range(32))


def main() -> None:
    """Runs the folder and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", default="mouth")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    people = defaultdict(list)
    for path in sorted(p for p in args.folder.iterdir() if p.suffix == ".jpg"):
        people[path.stem.split("_")[0]].append(path)
    anonymizer = Anonymizer(threads=args.threads)
    same, first, within, portraits = 0, 0, [], []
    pairs = 0
    for name, paths in list(people.items())[: args.limit]:
        key = CaseKey(_SECRET, name)
        done = [
            anonymizer.anonymize([path], keep=args.keep, key=key, steps=args.steps)[0]
            for path in paths
        ]
        done = [result for result in done if result.image is not None]
        first += sum(result.report.faces[0].draws == 1 for result in done)
        for a, b in itertools.combinations(done, 2):
            pairs += 1
            same += a.report.identity == b.report.identity
            within.append(float(a.person @ b.person))
        portraits += [result.person for result in done[:1]]
    others = np.stack(portraits) @ np.stack(portraits).T
    figures = {
        "pairs": pairs,
        "same identity": same,
        "photographs whose first draw passed": first,
        "portraits alike within pairs, median": round(float(np.median(within)), 3),
        "portraits alike, other people, median and 95th percentile": [
            round(float(np.percentile(others[np.triu_indices(len(others), 1)], q)), 3)
            for q in (50, 95)
        ],
    }
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
