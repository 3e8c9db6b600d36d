"""Memory of this process and of a server on the same machine."""

import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vera.errors import UsageError

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes.

    Attributes:
        process_peak: Largest resident size of this process so far.
        server: Of the server's processes now, pages they share counted once; None if not asked for.
        server_peak: Sum of the largest resident sizes of the server's processes; shared pages count
            in each, so that it is an upper limit.
        server_processes: How many there are.
    """

    process_peak: int
    server: int | None = None
    server_peak: int | None = None
    server_processes: int | None = None


def memory(server_pid: int | None = None, proc: Path = Path("/proc")) -> Memory:
    """The memory now.

    Args:
        server_pid: The server's process, whose children count, too.
        proc: Where the kernel tells of processes.

    Raises:
        UsageError: There is no such process, or it may not be looked at.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    if server_pid is None:
        return Memory(peak)
    try:
        family = list(_family(server_pid, proc))
        now = sum(_now(proc / str(pid)) for pid in family)
        most = sum(_fields(proc / str(pid) / "status").get("VmHWM", 0) for pid in family)
    except OSError as error:
        raise UsageError(
            f"The memory of process {server_pid} cannot be read ({error.strerror}); give the "
            "number of a running server of this machine and user, or leave --server-pid out."
        ) from error
    return Memory(peak, now, most, len(family))


def _family(pid: int, proc: Path) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for task in sorted((proc / str(pid) / "task").iterdir()):
        for child in (task / "children").read_text("utf-8").split():
            yield from _family(int(child), proc)


def _now(folder: Path) -> int:
    """Proportional set size, or the resident size where the kernel does not tell."""
    try:
        return _fields(folder / "smaps_rollup")["Pss"]
    except (OSError, KeyError):
        return _fields(folder / "status").get("VmRSS", 0)


def _fields(path: Path) -> Mapping[str, int]:
    """The fields of a file of /proc in bytes."""
    found = {}
    for line in path.read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * _KIB
    return found
