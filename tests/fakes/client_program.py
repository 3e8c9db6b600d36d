"""Clients in processes of their own, which a test may kill.

As a program it hands one photograph to a server and prints each stage that it is told.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import vera

Program = subprocess.Popen[str]
_END_S = 120.0


@dataclass(frozen=True)
class Ended:
    """What a program ended in."""

    code: int
    out: str
    error: str

    @classmethod
    def of(cls, program: Program) -> Self:
        """Waits for it."""
        try:
            out, error = program.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            killed(program)
            raise
        return cls(program.returncode, out, error)


def vera_command(*arguments: object) -> Program:
    """``vera`` with these arguments."""
    return _started(sys.executable, "-m", "vera", *arguments)


def told_when_ready(serving: Program, file: Path, seconds: float = _END_S) -> dict[str, Any]:
    """What ``vera serve`` writes into its ``--ready-file``."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert serving.poll() is None, serving.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return json.loads(file.read_text())


def begun(url: str, photo: Path, **options: Any) -> Program:
    """A client whose case is in the middle of its inversion; options of ``submit``."""
    pairs = [f"{name}={value}" for name, value in options.items()]
    program = _started(sys.executable, __file__, url, photo, *pairs)
    assert program.stdout is not None
    for line in program.stdout:
        if line == "invert\n":
            return program
    raise AssertionError(program.communicate()[1])


def killed(program: Program) -> None:
    """Ends it at once, and waits for that."""
    program.kill()
    program.communicate()


def _started(*command: object) -> Program:
    environment = {**os.environ, "PYTHONPATH": str(Path(vera.__file__).parents[1])}
    return subprocess.Popen(
        list(map(str, command)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _main() -> None:
    url, photo, *pairs = sys.argv[1:]
    options: dict[str, Any] = {name: float(value) for name, value in map(_split, pairs)}
    options["steps"] = int(options["steps"])
    with vera.Anonymizer(url=url) as anonymizer:
        anonymizer.submit([photo], progress=_tell, **options).result()


def _split(pair: str) -> list[str]:
    return pair.split("=")


def _tell(stage: str, _: float) -> None:
    sys.stdout.write(f"{stage}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
