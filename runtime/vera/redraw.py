"""The new identity: which codes are replaced, and how a synthetic person is drawn for a case.

Kept from the inversion are the coarse codes, pose, expression, age, and the codes of background,
hair, neck, cloth, glasses, hat and earring, so that the new face fits its head, light and moment.
Replaced are the identity code and the shape and texture codes of the parts that show who it is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Identities

Tensor = npt.NDArray[np.float32]

IDENTITY_PARTS = tuple(
    contract.CLASSES.index(name) for name in ("skin", "eye", "brow", "mouth", "nose", "ear")
)

# How much a donor may differ before it looks wrong on this head: one unit of misfit each.
_SKIN_DELTA_E = 6.0
_AGE_YEARS = 12.0
_FEMALE = 0.25
_YAW_DEGREES = 12.0
_EXPRESSION = 1.0  # in standard deviations of the expression code, root mean square
_COSINE = 0.25  # and how much likeness to the original weighs against it


@dataclass(frozen=True, slots=True)
class RedrawConfig:
    """How freely identities are drawn; every further draw for a case is freer than the last.

    Attributes:
        candidates: How many of the best fitting synthetic people may become donors.
        donors: How many of them are mixed into one person.
        truncation: Distance from the candidates' mean, as a share of the mixture's own.
        widening: Share by which each further draw takes more candidates, and weighs likeness more.
        stretching: By how much each further draw raises the truncation.
    """

    candidates: int = 24
    donors: int = 2
    truncation: float = 1.0
    widening: float = 0.5
    stretching: float = 0.04


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


def candidates(
    bank: Identities, wanted: Appearance, count: int, unlikeness: float = 1.0
) -> npt.NDArray[np.intp]:
    """Indices [count] of the people that fit the head best and resemble the original least.

    Args:
        bank: The synthetic people.
        wanted: What they should fit.
        count: How many.
        unlikeness: Weight of not resembling the original.
    """
    row = contract.high_level_row("expression")
    spread = np.maximum(bank.std[row], 1e-6)
    misfit = (
        ((bank.skin - wanted.skin) ** 2).sum(1) / _SKIN_DELTA_E**2
        + ((bank.age - wanted.age) / _AGE_YEARS) ** 2
        + ((bank.female - wanted.female) / _FEMALE) ** 2
        + ((bank.yaw - wanted.yaw) / _YAW_DEGREES) ** 2
        + (((bank.codes[:, row] - wanted.expression) / spread) ** 2).mean(1) / _EXPRESSION**2
    )
    likeness = np.maximum(bank.embedding @ wanted.embedding, 0) / _COSINE
    return np.argsort(misfit + unlikeness * likeness**2, kind="stable")[: min(count, len(misfit))]


def draw_identity(
    bank: Identities,
    wanted: Appearance,
    seed: tuple[int, ...],
    draw: int,
    config: RedrawConfig | None = None,
) -> Tensor:
    """Codes [32, d] of a new person; a pure function of its arguments.

    A mixture of a few donors with one set of weights for all rows, so that shapes and textures of
    one person stay together.

    Args:
        bank: The synthetic people.
        wanted: What the person must fit.
        seed: Non-negative integers: the user's seed and, for bystanders, which face it is.
        draw: Number of the draw, from 0.
        config: How freely to draw.
    """
    config = config or RedrawConfig()
    freedom = 1 + config.widening * draw
    chosen = candidates(bank, wanted, round(config.candidates * freedom), freedom)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((*seed, draw))))
    donors = random.choice(chosen, min(config.donors, len(chosen)), replace=False)
    weights = random.dirichlet(np.ones(len(donors))).astype(np.float32)
    mixture = np.tensordot(weights, bank.codes[donors], 1)
    centre = bank.codes[chosen].mean(0)
    reach = np.float32(config.truncation + config.stretching * draw)
    return np.asarray(centre + reach * (mixture - centre), np.float32)


def replaced_rows(kept: tuple[int, ...] = ()) -> list[int]:
    """Latent rows that a new identity takes over; those of the ``kept`` classes stay."""
    parts = [part for part in IDENTITY_PARTS if part not in kept]
    rows = [row for part in parts for row in (contract.shape_row(part), contract.texture_row(part))]
    return [*rows, contract.high_level_row("identity")]


def redraw(
    latents: Tensor,  # [n, 32, d]
    identity: Tensor,  # [32, d]
    kept: list[tuple[int, ...]],  # n times the kept classes
) -> Tensor:  # [n, 32, d]
    """The latents of a case with its new identity.

    Photographs of one person differ in their part codes by pose, expression and light. These
    differences to the case's mean are carried over to the new person, who so moves as the old one
    did; for a single photograph they are zero.
    """
    variation = latents - latents.mean(0, keepdims=True)
    result = latents.copy()
    for i, classes in enumerate(kept):
        rows = replaced_rows(classes)
        result[i, rows] = identity[rows] + variation[i, rows]
    result[:, contract.high_level_row("identity")] = identity[contract.high_level_row("identity")]
    return result
