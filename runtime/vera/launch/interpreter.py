"""The Python environment in which Triton runs Python models."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vera.errors import ServerError

# Nothing is imported in it but the standard library: nvidia-pytriton itself cannot be without
# packages that its server does not need.
_PROBE = """
import importlib.metadata, importlib.util, json, os, sys, sysconfig
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
spec = importlib.util.find_spec("pytriton")
print(json.dumps({
    "bin": os.path.dirname(os.path.abspath(sys.executable)),
    "version": "%d.%d" % sys.version_info[:2],
    "libraries": sysconfig.get_config_var("LIBDIR") or "",
    "numpy": version("numpy"),
    "vera": importlib.util.find_spec("vera") is not None,
    "pytriton": list(spec.submodule_search_locations)[0] if spec else None,
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What was found in an environment.

    Attributes:
        bin: Folder of its programs.
        version: Of Python, major and minor.
        libraries: Folder of libpython.
        numpy: Version, or None.
        vera: Whether ``import vera`` finds something there, PYTHONPATH left out: Triton's Python
            part ignores it.
        pytriton: Folder of nvidia-pytriton's package, or None.
    """

    bin: str
    version: str
    libraries: str
    numpy: str | None
    vera: bool
    pytriton: str | None


def probe(python: Path | None) -> Interpreter:
    """Looks into an environment; None is that of this process.

    Raises:
        ServerError: There is no such interpreter.
    """
    program = sys.executable if python is None else str(python)
    try:
        done = subprocess.run(
            [program, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True
        )
        return Interpreter(**json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, TypeError) as error:
        raise ServerError(
            f"The Python interpreter for the server's models cannot be run "
            f"({type(error).__name__}); pass another one with --python."
        ) from error
