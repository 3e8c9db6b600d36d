"""The flags of :class:`vera.settings.Settings`: the same names as in Python, with hyphens."""

import argparse
from collections.abc import Collection
from typing import Any, get_args

from vera.commands.parsing import count, positive
from vera.files.photo import PIXEL_LIMIT
from vera.settings import (
    NAMES,
    PRESERVABLE,
    Background,
    Faces,
    Frame,
    Hair,
    Method,
    Settings,
)


def add_settings(parser: argparse.ArgumentParser, only: Collection[str] = NAMES) -> None:
    """Adds a flag for every setting, or for those whose names are in ``only``."""
    group = parser.add_argument_group("how a case is done")

    def add(flag: str, **options: Any) -> None:
        if flag.removeprefix("--").replace("-", "_") in only:
            group.add_argument(flag, **options)

    def choose(flag: str, choices: object, default: str, told: str) -> None:
        add(flag, choices=get_args(choices), default=default, help=f"{told}; default: %(default)s")

    choose("--faces", Faces, "all", "all replaces bystanders, too, largest leaves them")
    add("--steps", type=count, help="most steps of the inversion; default: as tuned")
    add("--pixel-limit", type=positive, default=PIXEL_LIMIT, help="default: %(default)s pixels")
    choose("--frame", Frame, "photo", "the photograph, or the aligned square of the face alone")
    choose("--background", Background, "keep", "what becomes of it")
    choose("--hair", Hair, "keep", "as photographed, or regenerated with the face")
    add(
        "--preserve",
        type=_preserved,
        default=PRESERVABLE,
        metavar="LIST",
        help=f"of {','.join(PRESERVABLE)} or none; default: all of them",
    )
    add("--keep-margin", metavar="WIDTH", help="grow the kept region, as in 3px or 1.5mm")
    add("--variants", type=positive, default=1, help="new identities per case; default: 1")
    add(
        "--separation",
        type=float,
        metavar="COSINE",
        help="largest cosine of two variants, and of two cases with --distinct; default: as tuned",
    )
    choose("--method", Method, "draw", "draw a person, or move the nearest one away")


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of the flags; those without a flag are the default.

    Raises:
        UsageError: A value makes no sense.
    """
    return Settings(**{name: getattr(args, name) for name in NAMES if hasattr(args, name)})


def _preserved(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    return () if names == ["none"] else tuple(names)
