"""Photographs handed to a server on this machine through memory instead of a socket.

The region has a random name, nobody but this user may open it, its name is gone as soon as the
server holds it, and it is zeroed before it is given back: a photograph does not stay anywhere.
"""

import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Region:
    """A piece of shared memory.

    Attributes:
        name: Random; also what the server calls it.
        size: In bytes.
        path: Its file while it has a name.
    """

    name: str
    size: int
    path: Path

    @property
    def key(self) -> str:
        """What ``shm_open`` takes."""
        return f"/{self.name}"

    def unlink(self) -> None:
        """Take its name away; who has opened it keeps it."""
        self.path.unlink(missing_ok=True)


@contextmanager
def shared(parts: Sequence[bytes], folder: Path = _FOLDER) -> Iterator[Region | None]:
    """A region that holds ``parts`` one behind the other; None if there is no such memory.

    Args:
        parts: At least one byte altogether.
        folder: Where shared memory is.
    """
    name = f"vera_client_{os.getpid()}_{secrets.token_hex(16)}"
    region = Region(name, sum(map(len, parts)), folder / name)
    try:
        opened = os.open(region.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        yield None
        return
    try:
        try:
            # Reserved: writing to a full memory would end the process.
            os.posix_fallocate(opened, 0, region.size)
            memory = mmap.mmap(opened, region.size)
        except OSError:
            memory = None
        finally:
            os.close(opened)
        if memory is None:
            region.unlink()
            yield None
            return
        try:
            place = 0
            for part in parts:
                memory[place : place + len(part)] = part
                place += len(part)
            yield region
        finally:
            memory[:] = bytes(region.size)
            memory.close()
    finally:
        region.unlink()
