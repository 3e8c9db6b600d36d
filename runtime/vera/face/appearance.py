"""What a new person must look like to fit a head, and which synthetic people do."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Identities
from vera.face.faces import AlignedFace

Tensor = npt.NDArray[np.float32]

# Traits of the head; those of one photograph (yaw, expression) are left out where a person has to
# be the same one in photographs of another day.
LASTING = ("skin-tone", "age", "sex")
TRAITS = (*LASTING, "yaw", "expression")

# How much a donor may differ before it looks wrong on this head: one unit of misfit each.
_SKIN_DELTA_E = 6.0
_AGE_YEARS = 12.0
_FEMALE = 0.25
_YAW_DEGREES = 12.0
_EXPRESSION = 1.0  # in standard deviations of the expression code, root mean square
_COSINE = 0.25  # and how much likeness to the original weighs against it

# What is near enough for a person that photographs of several days must agree on: CIE 1976 units
# (the tone is matched afterwards) and years; and what another apparent sex costs.
_SKIN_ZONE, _AGE_ZONE, _OTHER_SEX = 10.0, 15.0, 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """What a new person must fit, as means over the photographs of the case; never reported.

    Attributes:
        skin: [3] mean colour of the skin, CIE Lab.
        female: Score in [0, 1].
        age: Years.
        yaw: Degrees.
        expression: [64] mean expression code of the inversion.
        embedding: [128] mean embedding of the original, which the new person must be far from.
    """

    skin: Tensor
    female: float
    age: float
    yaw: float
    expression: Tensor
    embedding: Tensor


def appearance(faces: Sequence[AlignedFace], latents: Tensor) -> Appearance:
    """Means over the faces of one person and their inversion [n, 32, d]."""
    embedding = np.mean([face.embedding for face in faces], axis=0)
    return Appearance(
        skin=np.mean([face.skin for face in faces], axis=0),
        female=float(np.mean([face.female for face in faces])),
        age=float(np.mean([face.age for face in faces])),
        yaw=float(np.mean([face.yaw for face in faces])),
        expression=latents[:, contract.high_level_row("expression")].mean(0),
        embedding=embedding / max(float(np.linalg.norm(embedding)), 1e-6),
    )


def misfit(
    bank: Identities,
    wanted: Appearance,
    unlikeness: float = 1.0,
    traits: Collection[str] = TRAITS,
) -> npt.NDArray[np.float64]:
    """How badly each of the bank's people [m] fits the head, and is like the original.

    Args:
        bank: The synthetic people.
        wanted: What they should fit.
        unlikeness: Weight of not resembling the original.
        traits: Out of :data:`TRAITS`, those that must fit.
    """
    row = contract.high_level_row("expression")
    spread = np.maximum(bank.std[row], 1e-6)
    terms = {
        "skin-tone": ((bank.skin - wanted.skin) ** 2).sum(1) / _SKIN_DELTA_E**2,
        "age": ((bank.age - wanted.age) / _AGE_YEARS) ** 2,
        "sex": ((bank.female - wanted.female) / _FEMALE) ** 2,
        "yaw": ((bank.yaw - wanted.yaw) / _YAW_DEGREES) ** 2,
        "expression": (((bank.codes[:, row] - wanted.expression) / spread) ** 2).mean(1)
        / _EXPRESSION**2,
    }
    likeness = np.maximum(bank.embedding @ wanted.embedding, 0) / _COSINE
    total = sum((terms[name] for name in TRAITS if name in traits), np.zeros(len(likeness)))
    return np.asarray(total + unlikeness * likeness**2, np.float64)


def lasting_misfit(
    bank: Identities, wanted: Appearance, traits: Collection[str] = LASTING
) -> npt.NDArray[np.float64]:
    """How badly each of the bank's people [m] fits, the same in photographs of another day.

    Readings of one person differ between photographs. So what is near enough costs nothing, and sex
    counts by the side of one half alone: then hardly anybody's cost changes with the photograph.

    Args:
        bank: The synthetic people.
        wanted: What they should fit.
        traits: Out of :data:`LASTING`, those that must fit.
    """
    skin = np.sqrt(((bank.skin - wanted.skin) ** 2).sum(1))
    terms = {
        "skin-tone": (np.maximum(skin - _SKIN_ZONE, 0) / (_SKIN_ZONE / 2)) ** 2,
        "age": (np.maximum(np.abs(bank.age - wanted.age) - _AGE_ZONE, 0) / (_AGE_ZONE / 1.5)) ** 2,
        "sex": _OTHER_SEX * ((bank.female > 0.5) != (wanted.female > 0.5)),
    }
    total = sum((terms[name] for name in LASTING if name in traits), np.zeros(len(bank.age)))
    return np.asarray(total, np.float64)


def candidates(
    bank: Identities,
    wanted: Appearance,
    count: int,
    unlikeness: float = 1.0,
    traits: Collection[str] = TRAITS,
) -> npt.NDArray[np.intp]:
    """Indices [count] of the people that fit the head best and resemble the original least."""
    cost = misfit(bank, wanted, unlikeness, traits)
    return np.argsort(cost, kind="stable")[: min(count, len(cost))]
