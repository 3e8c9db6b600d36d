"""The shared memory between a server and its Python models: photographs pass through it."""

import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")
_PREFIX = "vera_serve_"
# A living process of the same number, in another container, keeps its memory for this long.
_LEFTOVER_AGE_S = 600.0


def new_prefix() -> str:
    """What the names of one server's memory start with; random, and tells who started it."""
    return f"{_PREFIX}{os.getpid()}_{secrets.token_hex(4)}_"


def shut(prefix: str, folder: Path = FOLDER) -> None:
    """Takes it from all other users: Triton makes it readable for everybody, whatever the umask.

    Its processes are of one user, so that they open it as before.

    Args:
        prefix: Of the server.
        folder: Where shared memory is.
    """
    for region in folder.glob(f"{prefix}*"):
        with suppress(OSError):  # it has just been removed, or was put there by somebody else
            # Names can be read in the command line: a link of that name must lead nowhere.
            opened = os.open(region, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                mode = os.fstat(opened).st_mode
                if stat.S_ISREG(mode) and stat.S_IMODE(mode) != 0o600:
                    os.fchmod(opened, 0o600)
            finally:
                os.close(opened)


def remove(prefix: str, folder: Path = FOLDER) -> None:
    """Removes what a server left."""
    for region in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            region.unlink()


def remove_leftovers(folder: Path = FOLDER) -> None:
    """Removes what servers left that were killed together with what started them."""
    for region in folder.glob(f"{_PREFIX}*"):
        process = region.name.removeprefix(_PREFIX).split("_")[0]
        with suppress(OSError):
            old = time.time() - region.stat().st_mtime > _LEFTOVER_AGE_S
            if old and process.isdecimal() and not Path("/proc", process).exists():
                region.unlink()
