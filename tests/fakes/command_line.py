"""The command line without engines, and what it wrote.

As a program it is ``vera`` with the fake anonymizer, also in its workers.
"""

import sys
from pathlib import Path

from fake_anonymizer import FakeAnonymizer

from vera.cli import main
from vera.errors import EngineError, OutputError


def fake(bundle, threads, judges=()):
    return FakeAnonymizer(bundle, threads=threads, judges=judges)


def broken():
    """Opens no anonymizer. Here, because a worker process imports it by its module's name."""
    raise EngineError("No engine today; come again.")


def full_disk(path, image):
    """Writes no image."""
    raise OutputError("The disk is full; free some space.")


def anonymize(*arguments: object, open_anonymizer=fake) -> int:
    return main(["anonymize", *map(str, arguments)], open_anonymizer=open_anonymizer)


def images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")]


if __name__ == "__main__":
    # Workers import this file anew and must find the function under its own name.
    from command_line import fake as importable

    sys.exit(main(sys.argv[1:], open_anonymizer=importable))
