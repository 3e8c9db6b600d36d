"""Memory of this process and of a server on the same machine."""

import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vera.errors import UsageError

_KIB = 1024
_GONE = (FileNotFoundError, ProcessLookupError)  # what the kernel says of a process that has ended


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
        server_pid: The server's process, whose children count, too, as far as they do not end
            meanwhile.
        proc: Where the kernel tells of processes.

    Raises:
        UsageError: There is no such process, or it may not be looked at.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    if server_pid is None:
        return Memory(peak)
    try:
        sizes = [_sizes(proc / str(server_pid))]
        for child in children(server_pid, proc):
            with suppress(*_GONE):
                sizes.append(_sizes(proc / str(child)))
    except OSError as error:
        raise UsageError(
            f"The memory of process {server_pid} cannot be read ({error.strerror}); give the "
            "number of a running server of this machine and user, or leave --server-pid out."
        ) from error
    now, most = (sum(parts) for parts in zip(*sizes, strict=True))
    return Memory(peak, now, most, len(sizes))


def children(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The processes that a process started, and those that they started."""
    found = []
    for task in sorted((proc / str(pid) / "task").iterdir()):
        for child in map(int, _started(task)):
            found.append(child)
            with suppress(*_GONE):
                found += children(child, proc)
    return found


def _started(task: Path) -> list[str]:
    """Processes that a thread started; none if it has ended."""
    try:
        return (task / "children").read_text("utf-8").split()
    except _GONE:
        if task.exists():  # a kernel that does not tell: no figure is better than a part of it
            raise
        return []


def _sizes(folder: Path) -> tuple[int, int]:
    """Of a process: proportional set size, or resident where the kernel hides it; and the peak."""
    status = _fields(folder / "status")
    try:
        now = _fields(folder / "smaps_rollup")["Pss"]
    except (OSError, KeyError):
        now = status.get("VmRSS", 0)
    return now, status.get("VmHWM", 0)


def _fields(path: Path) -> Mapping[str, int]:
    """The fields of a file of /proc in bytes."""
    found = {}
    for line in path.read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * _KIB
    return found
