"""The new identity: which codes are replaced, and how a synthetic person is drawn for a case.

Kept from the inversion are the coarse codes, pose, expression, age, and the codes of background,
hair, neck, cloth, glasses, hat and earring, so that the new face fits its head, light and moment.
Replaced are the identity code and the shape and texture codes of the parts that show who it is.
Settings may free more of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Identities
from vera.face.appearance import TRAITS, Appearance, candidates, lasting_misfit

Tensor = npt.NDArray[np.float32]

IDENTITY_PARTS = tuple(
    contract.CLASSES.index(name) for name in ("skin", "eye", "brow", "mouth", "nose", "ear")
)

_NECK, _CLOTH = contract.CLASSES.index("neck"), contract.CLASSES.index("cloth")


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


def draw_identity(
    bank: Identities,
    wanted: Appearance,
    seed: tuple[int, ...],
    draw: int,
    config: RedrawConfig | None = None,
    traits: Collection[str] = TRAITS,
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
        traits: In what the person must fit, see :func:`vera.face.appearance.misfit`.
    """
    config = config or RedrawConfig()
    freedom = 1 + config.widening * draw
    chosen = candidates(bank, wanted, round(config.candidates * freedom), freedom, traits)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((*seed, draw))))
    donors = random.choice(chosen, min(config.donors, len(chosen)), replace=False)
    weights = random.dirichlet(np.ones(len(donors))).astype(np.float32)
    mixture = np.tensordot(weights, bank.codes[donors], 1)
    centre = bank.codes[chosen].mean(0)
    reach = np.float32(config.truncation + config.stretching * draw)
    return np.asarray(centre + reach * (mixture - centre), np.float32)


def draw_keyed_identity(
    bank: Identities,
    wanted: Appearance,
    words: tuple[int, ...],
    draw: int,
    config: RedrawConfig | None = None,
    traits: Collection[str] = TRAITS,
) -> Tensor:
    """Codes [32, d] of the new person of a case key: the same one in photographs of any day.

    Every synthetic person gets a Gumbel number from the key, and the donors are those whose number
    less misfit is largest. That samples donors by fit (the Gumbel-max trick), and because the
    numbers belong to people and not to places in a ranking, another reading of the patient changes
    the choice only if it changes a chosen person's misfit. So only lasting traits count, and what
    is near enough costs nothing: of 51 pairs of photographs (neutral, smiling) and 30 keys each,
    82 % drew the same donors; with the misfit of other draws it were 49 %.

    Args:
        bank: The synthetic people.
        wanted: What the person must fit.
        words: Of the case key.
        draw: Number of the draw, from 0.
        config: How many donors.
        traits: In what the person must fit; of these only the lasting ones count.
    """
    config = config or RedrawConfig()
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((*words, draw))))
    chances = random.gumbel(size=len(bank.age))
    cost = lasting_misfit(bank, wanted, traits)
    donors = np.argsort(cost - chances, kind="stable")[: config.donors]
    # In the order of the bank: two donors that change places must not change their weights.
    donors = np.sort(donors)
    weights = random.dirichlet(np.ones(len(donors))).astype(np.float32)
    return np.asarray(np.tensordot(weights, bank.codes[donors], 1), np.float32)


def replaced_rows(
    kept: tuple[int, ...] = (),
    parts: Sequence[int] = IDENTITY_PARTS,
    codes: Collection[str] = ("identity",),
) -> list[int]:
    """Latent rows that a new identity takes over.

    Args:
        kept: Classes whose rows stay.
        parts: Classes whose shape and texture are replaced.
        codes: High-level codes that are replaced.
    """
    taken = [part for part in parts if part not in kept]
    # A neck that only has to follow the new skin keeps its shape: that fits the pose and the cloth.
    whole = [part for part in taken if part != _NECK or _CLOTH in taken]
    rows = [row for part in whole for row in (contract.shape_row(part), contract.texture_row(part))]
    rows += [contract.texture_row(part) for part in taken if part not in whole]
    return rows + [contract.high_level_row(name) for name in contract.HIGH_LEVEL if name in codes]


def redraw(
    latents: Tensor,  # [n, 32, d]
    identity: Tensor,  # [32, d]
    kept: list[tuple[int, ...]],  # n times the kept classes
    parts: Sequence[int] = IDENTITY_PARTS,
    codes: Collection[str] = ("identity",),
) -> Tensor:  # [n, 32, d]
    """The latents of a case with its new identity.

    Photographs of one person differ in their part codes by pose, expression and light. These
    differences to the case's mean are carried over to the new person, who so moves as the old one
    did; for a single photograph they are zero.
    """
    variation = latents - latents.mean(0, keepdims=True)
    result = latents.copy()
    for i, classes in enumerate(kept):
        rows = replaced_rows(classes, parts, codes)
        result[i, rows] = identity[rows] + variation[i, rows]
    result[:, contract.high_level_row("identity")] = identity[contract.high_level_row("identity")]
    return result
