"""Photographs handed to a server on this machine through memory instead of a socket.

The region has a random name, nobody but this user may open it, its name is taken away before
anything is written, and it is zeroed before it is given back: a photograph does not stay anywhere.
"""

import mmap
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Region:
    """A piece of shared memory, empty at first.

    Attributes:
        name: Random; also what the server calls it.
        size: In bytes.
        path: Its file while it has a name.
        memory: Its content.
    """

    name: str
    size: int
    path: Path
    memory: mmap.mmap = field(repr=False)

    @property
    def key(self) -> str:
        """What ``shm_open`` takes."""
        return f"/{self.name}"

    def unlink(self) -> None:
        """Take its name away; who has opened it keeps it."""
        self.path.unlink(missing_ok=True)

    def write(self, parts: Iterable[bytes]) -> None:
        """Fill it with these, one behind the other; take its name away first."""
        place = 0
        for part in parts:
            self.memory[place : place + len(part)] = part
            place += len(part)


@contextmanager
def shared(size: int, folder: Path = _FOLDER) -> Iterator[Region | None]:
    """A region of this size; None if there is no such memory.

    Args:
        size: In bytes, at least one.
        folder: Where shared memory is.
    """
    name = f"vera_client_{os.getpid()}_{secrets.token_hex(16)}"
    path = folder / name
    memory = _opened(path, size)
    if memory is None:
        yield None
        return
    try:
        yield Region(name, size, path, memory)
    finally:
        memory[:] = bytes(size)
        memory.close()
        path.unlink(missing_ok=True)


def _opened(path: Path, size: int) -> mmap.mmap | None:
    try:
        opened = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        return None
    try:
        # Reserved: writing to a full memory would end the process.
        os.posix_fallocate(opened, 0, size)
        return mmap.mmap(opened, size)
    except OSError:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(opened)
