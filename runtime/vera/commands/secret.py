"""``--secret FILE``: what keyed identities are derived from."""

import stat
import sys
from pathlib import Path

from vera.errors import UsageError
from vera.key import SHORTEST_SECRET


def read_secret(path: Path) -> bytes:
    """The secret without white space around it, which editors add; warns if others may read it.

    Raises:
        UsageError: The file cannot be read or is too short.
    """
    try:
        secret = path.read_bytes().strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(
            f"The file of --secret cannot be read ({error.strerror}); check its path."
        ) from error
    if len(secret) < SHORTEST_SECRET:
        raise UsageError(
            f"The file of --secret holds {len(secret)} bytes, fewer than the {SHORTEST_SECRET} "
            "that a secret needs; make one with: head -c 32 /dev/urandom > secret"
        )
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        print(
            "vera: warning: other users may read the file of --secret, and with it repeat every "
            "draw; run chmod 600 on it.",
            file=sys.stderr,
        )
    return secret
