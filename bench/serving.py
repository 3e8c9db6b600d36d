"""``vera bench`` with the baseline that needs torch and this clone's weights.

    python bench/serving.py --baseline eager one-at-a-time --local --scenario single-stream

Takes the arguments of ``vera bench``.
"""

import argparse
import sys
from importlib.util import find_spec

from eager import EagerTarget

from vera.commands import bench
from vera.errors import VeraError


def main() -> int:
    parser = argparse.ArgumentParser(prog="serving.py", description=__doc__)
    bench.add(parser.add_subparsers(required=True))
    args = parser.parse_args(["bench", *sys.argv[1:]])
    # Not imported: torch in this process would slow its engines down.
    if find_spec("torch") is None:
        sys.exit('The baseline eager needs PyTorch; run pip install "vera[export]".')
    try:
        return bench.run(args, None, baselines={"eager": EagerTarget})
    except VeraError as error:
        sys.exit(f"serving.py: {error}")


if __name__ == "__main__":
    sys.exit(main())
