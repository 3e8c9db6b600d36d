"""Cases in process, in another environment: libraries of other versions round differently.

``run`` starts this file there with the requests in a file; it writes the results beside them.
"""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

Cases = list[dict[str, Any]]


def run(interpreter: Path, cases: Cases, folder: Path) -> list[list[Any]]:
    """Results of ``Anonymizer.anonymize(**case)`` for each case, done by ``interpreter``."""
    import vera

    asked, told = folder / "cases.pickle", folder / "results.pickle"
    asked.write_bytes(pickle.dumps(cases))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own = subprocess.run(
        [str(interpreter), "-c", "import vera.ops"], env=environment, capture_output=True
    )
    if own.returncode:  # it has none: a working tree with its extension built in place
        environment["PYTHONPATH"] = str(Path(vera.__file__).parents[1])
    command = [str(interpreter), __file__, str(asked), str(told)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return pickle.loads(told.read_bytes())


def timeless(report: Any) -> Any:
    """A report without what differs between two runs of the same case."""
    return replace(report, milliseconds={})


def _main() -> None:
    import vera

    asked, told = map(Path, sys.argv[1:])
    with vera.Anonymizer(threads=1) as anonymizer:
        done = [anonymizer.anonymize(**case) for case in pickle.loads(asked.read_bytes())]
    # As bytes: pickled arrays of NumPy 1 and 2 name different modules.
    plain = [
        [(_plain(result.image), result.report, _plain(result.person)) for result in results]
        for results in done
    ]
    told.write_bytes(pickle.dumps(plain))


def _plain(array: Any) -> bytes | None:
    return None if array is None else array.tobytes()


if __name__ == "__main__":
    _main()
