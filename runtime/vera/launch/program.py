"""Which tritonserver is run: one on the PATH, nvidia-pytriton's, or one in a container."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vera.errors import ServerError, UsageError
from vera.launch.interpreter import Interpreter, probe
from vera.launch.options import AUTO, BUNDLED, DOCKER, PODMAN, ServeOptions, is_loopback

Kind = Literal["system", "bundled", "container"]

_PYTRITON = "pytriton"  # folder of nvidia-pytriton in any environment
_OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Program:
    """A server that can be started.

    Attributes:
        kind: Where it comes from.
        path: The tritonserver, or the container engine.
        interpreter: The environment of its Python models; None in a container.
    """

    kind: Kind
    path: Path
    interpreter: Interpreter | None = None


def find_program(options: ServeOptions) -> Program:
    """The server that ``options`` name; ``auto``: PATH, then nvidia-pytriton, then ``--image``.

    Raises:
        ServerError: There is none, or the one there is must not be used here.
        UsageError: A container without an image.
    """
    match options.server:
        case "auto":
            return _any(options)
        case "bundled":
            return _bundled(options, probe(options.python))
        case "docker" | "podman":
            return _container(options, options.server)
    path = Path(options.server)
    if not path.is_file():
        raise ServerError(
            f"There is no tritonserver at {options.server!r}; pass the path of one, or one of "
            f"{AUTO}, {BUNDLED}, {DOCKER}, {PODMAN}."
        )
    return _given(options, path)


def _any(options: ServeOptions) -> Program:
    found = shutil.which("tritonserver")
    if found is not None:
        return _given(options, Path(found))
    interpreter = probe(options.python)
    if interpreter.pytriton is not None and options.image is None:
        return _bundled(options, interpreter)
    if options.image is not None:
        return _container(options, DOCKER if shutil.which(DOCKER) else PODMAN)
    raise ServerError(
        "No Triton server was found: there is no tritonserver on the PATH and no nvidia-pytriton "
        "in the Python environment; run inside NVIDIA's container, pass --image, or pip install "
        "'vera[server]' for trying things out."
    )


def _given(options: ServeOptions, path: Path) -> Program:
    if _PYTRITON in path.resolve().parts:  # the bundled one under another name
        return _bundled(options, probe(options.python))
    return Program("system", path, probe(options.python))


def _bundled(options: ServeOptions, interpreter: Interpreter) -> Program:
    for flag, host in (("--host", options.host), ("--metrics-host", options.metrics_host)):
        if not is_loopback(host):
            raise ServerError(
                f"The server in nvidia-pytriton is of 2024 and has known holes: it may listen at "
                f"127.0.0.1 only, got {flag} {host}; use NVIDIA's container 26.07 or newer."
            )
    if interpreter.pytriton is None:
        raise ServerError(
            "nvidia-pytriton is not in the Python environment; pip install 'vera[server]' there, "
            "or pass another one with --python."
        )
    major = (interpreter.numpy or "0").split(".")[0]
    if interpreter.numpy is None or int(major) >= 2:
        raise ServerError(
            f"The server in nvidia-pytriton damages tensors with NumPy 2, got NumPy "
            f"{interpreter.numpy}; pip install 'vera[server]' in an environment of its own and "
            "pass its interpreter with --python."
        )
    if not interpreter.vera and interpreter.version != _OWN:  # our extension is of one version
        raise ServerError(
            f"vera is not in the Python {interpreter.version} environment of the server; install "
            "it there, or pass another one with --python."
        )
    home = Path(interpreter.pytriton) / "tritonserver"
    stub = home / "python_backend_stubs" / interpreter.version / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServerError(
            f"nvidia-pytriton has no part for Python {interpreter.version}; use another Python "
            "with --python."
        )
    return Program("bundled", home / "bin" / "tritonserver", interpreter)


def _container(options: ServeOptions, engine: str) -> Program:
    if options.image is None:
        raise UsageError(
            f"--server {engine} needs --image, got none; build one with VerA in it from "
            "deploy/Dockerfile."
        )
    found = shutil.which(engine)
    if found is None:
        raise ServerError(f"{engine} is not on the PATH; install it, or choose another --server.")
    return Program("container", Path(found))
