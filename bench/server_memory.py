"""Memory of a served model after many cases: does what they leave behind grow?

    python bench/server_memory.py --python triton/bin/python [--cases 500] [--first 50]

Serves the package's bundle with the server in nvidia-pytriton (``--python``: an interpreter that
has it) and asks it for cheap cases, several at once. Of every ten, one is cancelled, one runs into
its deadline, and one has a photograph that cannot be read. Memory of the model's process and of
the server is read after the first cases, at two times on the way, and after all of them: what
leaks goes on growing, what an allocator keeps does not. Prints one line of JSON; the exit code is 1
if the model grew by more than ``--bound`` megabytes from the first to the last time.
"""

import argparse
import io
import json
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import vera
from vera.benchmark.memory import children
from vera.errors import CancelledError, DeadlineError
from vera.launch.options import ServeOptions
from vera.launch.server import start

AT_ONCE = 4
_LONG = 400  # steps; far more than are waited for


def photograph() -> bytes:
    """scikit-image's astronaut as a PNG file that takes 1.8 MB in memory.

    Were one of each case kept, 500 cases would show it above what ONNX Runtime's own memory grows
    by, some 100 MB in a few steps.
    """
    from PIL import Image
    from skimage import data

    encoded = io.BytesIO()
    Image.fromarray(data.astronaut()[:300, 70:370]).resize((768, 768)).save(encoded, "PNG")
    return encoded.getvalue()


def case(client: vera.Anonymizer, photo: bytes, number: int) -> None:
    """One case of the mixture."""
    match number % 10:
        case 3:
            begun = threading.Event()
            job = client.submit([photo], steps=_LONG, progress=lambda *_: begun.set())
            begun.wait()
            job.cancel()
            with suppress(CancelledError):
                job.result()
        case 6:
            with suppress(DeadlineError):
                client.submit([photo], steps=_LONG, deadline=0.5).result()
        case 9:
            client.anonymize([b"no photograph"], seed=number, steps=1)
        case _:
            client.anonymize([photo], seed=number, steps=1)


def resident(process: int) -> float:
    """Memory of a process alone, without files and shared pieces, that is in RAM; megabytes."""
    lines = Path("/proc", str(process), "status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


def model_of(server: int) -> int:
    """The process of a server in which the model of the cases runs; each engine has one, too."""
    for child in children(server):
        if b"/anonymize/" in Path("/proc", str(child), "cmdline").read_bytes():
            return child
    sys.exit("The server has no model 'anonymize'; look at its log with vera serve.")


def measured(repository: Path, python: Path, counts: list[int]) -> list[dict[str, float]]:
    """Megabytes after so many cases."""
    options = ServeOptions(
        http_port=0, grpc_port=0, metrics_port=0, server="bundled", python=python
    )
    photo, rows, done = photograph(), [], 0
    with start(repository, options) as server, vera.Anonymizer(url=server.urls.grpc) as client:
        model = model_of(server.pid)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for count in counts:
                numbers = range(done, count)
                list(pool.map(lambda number: case(client, photo, number), numbers))
                done = count
                megabytes = {"model": resident(model), "server": resident(server.pid)}
                rows.append({"cases": count, **{k: round(v, 1) for k, v in megabytes.items()}})
    return rows


def main() -> None:
    """Renders a repository, serves it and measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--first", type=int, default=50)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--bound", type=float, default=250.0)
    args = parser.parse_args()
    from vera_export.repository.options import RepositoryOptions
    from vera_export.repository.render import render

    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        render(repository, None, RepositoryOptions(slots=2, queue=8, threads=2))
        third = (args.cases - args.first) // 3
        counts = [args.first, args.first + third, args.first + 2 * third, args.cases]
        rows = measured(repository, args.python, counts)
    growth = round(rows[-1]["model"] - rows[0]["model"], 1)
    print(json.dumps({"megabytes": rows, "growth": growth, "bound": args.bound}))
    sys.exit(growth > args.bound)


if __name__ == "__main__":
    main()
