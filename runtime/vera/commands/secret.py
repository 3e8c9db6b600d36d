"""``--secret FILE``: what keyed identities are derived from."""

import stat
import sys
from pathlib import Path

from vera.key import read_secret


def secret_of(path: Path) -> bytes:
    """The secret in the file of ``--secret``; warns if others may read it.

    Raises:
        UsageError: The file cannot be read or is too short.
    """
    secret = read_secret(path)
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        print(
            "vera: warning: other users may read the file of --secret, and with it repeat every "
            "draw; run chmod 600 on it.",
            file=sys.stderr,
        )
    return secret
