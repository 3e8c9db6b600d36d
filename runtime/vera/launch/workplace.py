"""What a server needs around it while it runs: a command line, an environment, private folders."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vera.errors import ServerError
from vera.launch import memory
from vera.launch.environment import server_environment
from vera.launch.flags import Place, build_flags, known_flags
from vera.launch.interpreter import Interpreter
from vera.launch.options import ServeOptions
from vera.launch.ports import Ports, bracketed
from vera.launch.program import Program

# The largest core dump in bytes. They hold photographs. Not 0: where the kernel hands dumps to a
# program (core_pattern begins with a bar) it heeds no limit but this one.
CORE_BYTES = 1

# The container sees the repository and the files of TLS here.
_MODELS, _TLS = Path("/models"), Path("/tls")


@dataclass(frozen=True, slots=True)
class Workplace:
    """A server ready to be started.

    Attributes:
        command: Its whole command line.
        environment: Its environment.
        folder: Private folder, removed by :meth:`clear`.
        shm_prefix: Of the names of its shared memory.
        killing: Command that ends it at once, where killing the process is not enough.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    shm_prefix: str
    killing: tuple[str, ...] = ()

    def clear(self) -> None:
        """Removes what the server leaves: its folder, and shared memory that holds pictures."""
        shutil.rmtree(self.folder, ignore_errors=True)
        memory.remove(self.shm_prefix)


def prepare(repository: Path, options: ServeOptions, program: Program, ports: Ports) -> Workplace:
    """Everything for ``program`` to serve ``repository``; clear it in any case.

    Raises:
        ServerError: The server does not run, or is too old.
        UsageError: A file of the options cannot be read.
    """
    prefix = memory.new_prefix()
    folder = Path(tempfile.mkdtemp(prefix="vera-serve-"))  # 0700
    try:
        if program.kind == "container":
            return _container(
                repository, options, program, ports, Workplace((), {}, folder, prefix)
            )
        environment = server_environment(program)
        place = _place(repository, options, program, folder, prefix)
        known = known_flags(_help((str(program.path), "--help"), environment))
        flags = build_flags(options, ports, place, known)
        return Workplace((str(program.path), *flags), environment, folder, prefix)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _place(
    repository: Path, options: ServeOptions, program: Program, folder: Path, prefix: str
) -> Place:
    http_host = _http_host(options, options.host)
    tls = tuple(file.absolute() for file in options.tls_files)
    place = Place(repository, options.host, http_host, options.metrics_host, tls, prefix)
    if program.kind != "bundled" or program.interpreter is None:
        return place
    home = program.path.parents[1]
    _link_backend(home, program.interpreter, folder / "backends" / "python")
    return replace(place, backends=folder / "backends", caches=home / "caches")


def _http_host(options: ServeOptions, host: str) -> str:
    """HTTP has no TLS: where gRPC has, HTTP stays on this machine."""
    return "127.0.0.1" if options.tls_cert is not None else host


def _link_backend(home: Path, interpreter: Interpreter, folder: Path) -> None:
    """nvidia-pytriton keeps the part for each Python apart; the server wants it beside the rest."""
    folder.mkdir(parents=True)
    backend = home / "backends" / "python"
    stubs = home / "python_backend_stubs" / interpreter.version
    files = [backend / "libtriton_python.so", backend / "triton_python_backend_utils.py"]
    files.append(stubs / "triton_python_backend_stub")
    if not interpreter.vera:  # run from the source tree; the models look into this folder last
        files.append(Path(__file__).parents[1])
    for file in files:
        (folder / file.name).symlink_to(file)


def _container(
    repository: Path, options: ServeOptions, program: Program, ports: Ports, bare: Workplace
) -> Workplace:
    """A container of its own: nothing of this machine but the repository, read-only."""
    name = bare.shm_prefix.strip("_").replace("_", "-")
    http_host = _http_host(options, options.host)
    published = (
        (options.host, ports.grpc),
        (http_host, ports.http),
        (options.metrics_host, ports.metrics),
    )
    tls = tuple(_TLS / str(i) for i, _ in enumerate(options.tls_files))
    mounts = ((repository, _MODELS), *zip(options.tls_files, tls, strict=True))
    run = (
        *(str(program.path), "run", "--rm", "--name", name, "--read-only", "--tmpfs", "/tmp"),
        *("--ipc", "private", "--shm-size", "1g", "--cap-drop", "ALL"),
        *("--ulimit", f"core={CORE_BYTES}:{CORE_BYTES}"),
        *("--security-opt", "no-new-privileges", "--user", f"{os.getuid()}:{os.getgid()}"),
        *(() if options.gpus is None else ("--gpus", options.gpus)),
        *(part for source, target in mounts for part in _mount(source, target)),
        *(part for host, port in published for part in ("-p", f"{bracketed(host)}:{port}:{port}")),
    )
    image = (str(options.image), "tritonserver")
    environment = server_environment(program)
    helped = _help((str(program.path), "run", "--rm", *image, "--help"), environment)
    everywhere = "0.0.0.0"  # of the container; what is published says who reaches it
    place = Place(_MODELS, everywhere, everywhere, everywhere, tls, bare.shm_prefix)
    flags = build_flags(options, ports, place, known_flags(helped))
    killing = (str(program.path), "kill", name)
    return Workplace((*run, *image, *flags), environment, bare.folder, bare.shm_prefix, killing)


def _mount(source: Path, target: Path) -> tuple[str, str]:
    return "--mount", f"type=bind,source={source.absolute()},target={target},readonly"


def _help(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(
            f"The server does not run ({type(error).__name__}); see whether its --help does."
        ) from error
    if done.returncode not in (0, 1):
        said = " ".join((done.stderr or done.stdout).split())[-300:] or "nothing"
        raise ServerError(
            f"The server ended with code {done.returncode} when asked for its options, and said: "
            f"{said}; see whether its --help runs."
        )
    return done.stdout + done.stderr
