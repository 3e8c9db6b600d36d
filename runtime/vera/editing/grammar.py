"""The text of an edit: ``hair=draw:7@0.5``, ``pose=yaw:+15``, ``truncation=0.7``."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from vera import contract
from vera.errors import UsageError
from vera.identity.redraw import replaced_rows
from vera.request.keep import REGIONS

# Regions that may be kept have the same names here; every class is a part, too.
PARTS: dict[str, tuple[int, ...]] = {
    **{name: (number,) for number, name in enumerate(contract.CLASSES)},
    **REGIONS,
}

# Further sets of rows that can be taken from another face.
CODES: dict[str, tuple[int, ...]] = {
    **{name: (contract.high_level_row(name),) for name in contract.HIGH_LEVEL},
    "coarse": contract.COARSE_ROWS,
    "person": tuple(replaced_rows()),
    "all": tuple(range(contract.LATENT_ROWS)),
}

# What is changed by its measured value, with the largest change that can be asked for.
YAW, PITCH, AGE, MOUTH_OPEN = "yaw", "pitch", "age", "mouth-open"
_LARGEST = {YAW: 45.0, PITCH: 30.0, AGE: 60.0, MOUTH_OPEN: 0.5}

_FORMS = (
    "PART=draw:SEED or PART=FILE.npz, pose=yaw:+15, expression=happy, age=+20, mouth-open=+0.1 "
    "or truncation=0.7"
)
_MOST = 2**63


@dataclass(frozen=True, slots=True)
class Drawn:
    """A synthetic person of the bundle's bank, by seed."""

    seed: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A face saved as latents."""

    path: Path


Source = Drawn | Saved


@dataclass(frozen=True, slots=True)
class Mix:
    """Rows taken from another face.

    Attributes:
        name: What is taken, such as ``"hair.shape"``.
        rows: Rows of the latent.
        source: The other face.
        strength: 1 takes the rows over, less goes a part of the way.
    """

    name: str
    rows: tuple[int, ...]
    source: Source
    strength: float = 1.0

    @property
    def label(self) -> str:
        """The edit as text; a file is not named."""
        source = f"draw:{self.source.seed}" if isinstance(self.source, Drawn) else "file"
        return f"{self.name}={source}{_at(self.strength)}"


@dataclass(frozen=True, slots=True)
class Aim:
    """A measured value that is to change.

    Attributes:
        name: ``"yaw"``, ``"pitch"`` (degrees), ``"age"`` (years), ``"mouth-open"`` (share of the
            mouth's width) or one of the expressions.
        change: By how much; None for an expression, which is aimed at as such.
        strength: Share of the way.
    """

    name: str
    change: float | None
    strength: float = 1.0

    @property
    def label(self) -> str:
        """The edit as text."""
        if self.change is None:
            return f"expression={self.name}{_at(self.strength)}"
        pose = self.name in (YAW, PITCH)
        value = f"pose={self.name}:" if pose else f"{self.name}="
        return f"{value}{self.change:+g}{_at(self.strength)}"


@dataclass(frozen=True, slots=True)
class Truncate:
    """All rows drawn towards the mean face of the bank.

    Attributes:
        share: Of the distance to the mean that is left: 1 changes nothing, 0 gives the mean face.
    """

    share: float

    @property
    def label(self) -> str:
        """The edit as text."""
        return f"truncation={self.share:g}"


Edit = Mix | Aim | Truncate


def parse_edit(text: str) -> Edit:
    """Reads one edit, ``NAME=VALUE`` with an optional strength ``@S`` in (0, 1].

    Args:
        text: ``NAME`` is a part (also ``NAME.shape``, ``NAME.texture``), a code (identity,
            expression, pose, age, coarse, person, all) with ``draw:SEED`` or a latents file as
            ``VALUE``; or ``pose=yaw:+15``, ``pose=pitch:-5``, ``expression=happy``, ``age=+20``,
            ``mouth-open=+0.1``, ``truncation=0.7``.

    Raises:
        UsageError: None of these.
    """
    name, equals, value = text.partition("=")
    name, value = name.strip().lower(), value.strip()
    if not equals or not name or not value:
        raise UsageError(f"An edit is written NAME=VALUE, got {text!r}; write {_FORMS}.")
    if name == "truncation":
        return Truncate(parse_share(value, "truncation"))
    value, strength = _strength(value)
    source = _source(value)
    if source is not None:
        return Mix(name, _rows(name), source, strength)
    return _aim(name, value, strength)


def parse_target(text: str) -> Edit:
    """Reads where an interpolation goes: an edit, or a whole face (``draw:SEED``, a file).

    Raises:
        UsageError: Neither.
    """
    source = _source(text.strip())
    if source is not None and "=" not in text:
        return Mix("all", CODES["all"], source)
    return parse_edit(text)


def parse_share(text: str, name: str) -> float:
    """A number from 0 to 1.

    Raises:
        UsageError: Something else.
    """
    share = _number(text)
    if share is None or not 0 <= share <= 1:
        raise UsageError(
            f"{name} takes a number from 0 (the mean face) to 1 (no change), got {text!r}; write "
            f"such as {name}=0.7."
        )
    return share


def _rows(name: str) -> tuple[int, ...]:
    if name in CODES:
        return CODES[name]
    part, _, kind = name.partition(".")
    if part not in PARTS or kind not in ("", "shape", "texture"):
        raise UsageError(
            f"There is no part {name!r}; use one of {', '.join(PARTS)}, each also with .shape or "
            f".texture, or {', '.join(CODES)}."
        )
    shapes = [contract.shape_row(number) for number in PARTS[part]]
    textures = [contract.texture_row(number) for number in PARTS[part]]
    return tuple((shapes if kind != "texture" else []) + (textures if kind != "shape" else []))


def _source(value: str) -> Source | None:
    if value.startswith("draw:"):
        digits = value.removeprefix("draw:")
        if not digits.isdecimal() or int(digits) >= _MOST:
            raise UsageError(
                f"draw: takes a seed, a whole number from 0 on, got {digits!r}; write such as "
                "draw:7."
            )
        return Drawn(int(digits))
    return Saved(Path(value)) if value.lower().endswith(".npz") else None


def _aim(name: str, value: str, strength: float) -> Aim:
    if name == "expression":
        if value.lower() not in contract.EXPRESSIONS:
            raise UsageError(
                f"expression takes {', '.join(contract.EXPRESSIONS)}, draw:SEED or a latents file, "
                f"got {value!r}; write one of them."
            )
        return Aim(value.lower(), None, strength)
    if name == "pose":
        name, _, value = value.lower().partition(":")
        if name not in (YAW, PITCH):
            raise UsageError(
                f"pose takes yaw:DEGREES, pitch:DEGREES, draw:SEED or a latents file, got {name!r};"
                " write such as pose=yaw:+15."
            )
    elif name not in (AGE, MOUTH_OPEN):
        _rows(name)  # an unknown part is told before its value
        raise UsageError(
            f"{name} takes draw:SEED or a latents file (.npz), got {value!r}; write such as "
            f"{name}=draw:7."
        )
    change, most = _number(value), _LARGEST[name]
    if change is None or change == 0 or abs(change) > most:
        raise UsageError(
            f"{name} takes a change from -{most:g} to {most:g} other than 0, got {value!r}; write "
            f"such as {Aim(name, most / 3).label}."
        )
    return Aim(name, change, strength)


def _strength(value: str) -> tuple[str, float]:
    """The value without its strength, and the strength."""
    match = re.fullmatch(r"(.+)@([^@/\\]*)", value)
    if match is None or _number(match[2]) is None:
        return value, 1.0
    strength = float(match[2])
    if not 0 < strength <= 1:
        raise UsageError(
            f"A strength is above 0 and at most 1, got @{match[2]}; write such as @0.5."
        )
    return match[1], strength


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _at(strength: float) -> str:
    return "" if strength == 1 else f"@{strength:g}"
