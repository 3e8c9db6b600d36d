"""The sources under ``triton_models/``: every configuration of the bundle in the package.

They are what ``vera-export repository`` writes for it with default options, one file per back end,
so that a change of the contract is seen in a review:

    python -m vera_export.repository.sources triton_models
"""

import sys
from pathlib import Path

from vera.bundle import load_bundle
from vera_export.repository.options import BACKENDS, RepositoryOptions
from vera_export.repository.render import CONFIG, texts
from vera_export.repository.tensors import served_engines


def sources() -> dict[str, str]:
    """The texts by their path: ``<model>/config.pbtxt`` and ``1/model.py`` are the Python ones.

    Triton itself has the place of the others: ``--model-config-name=onnxruntime`` takes
    ``<model>/configs/onnxruntime.pbtxt``.
    """
    engines = served_engines(load_bundle())
    found = {}
    for backend in BACKENDS:
        options = RepositoryOptions(
            backend=backend, device="gpu" if backend == "tensorrt" else "cpu"
        )
        for path, text in texts(engines, options).items():
            model, _, rest = path.partition("/")
            if backend == "python":
                found[path] = text
            elif rest == CONFIG:
                found[f"{model}/configs/{backend}.pbtxt"] = text
    return found


def write_sources(folder: Path) -> None:
    """Writes them into ``folder``."""
    for path, text in sources().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_sources(Path(sys.argv[1]))
