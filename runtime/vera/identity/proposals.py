"""New people proposed for a case, one after another, until the gate lets one through."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vera.bundle import Identities
from vera.contract import HIGH_LEVEL
from vera.engines import Tensor
from vera.face.appearance import TRAITS, Appearance
from vera.identity.redraw import (
    IDENTITY_PARTS,
    draw_identity,
    draw_keyed_identity,
    redraw,
    replaced_rows,
)
from vera.key import DrawKey
from vera.region.replaced import Replacing
from vera.settings import Settings

# How many synthetic people are tried before a photograph is refused; most fail in the crop already,
# which costs a tenth of a second.
DRAWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A new person.

    Attributes:
        identity: float32 [32, d], its codes.
        latents: float32 [n, 32, d], the photographs of the case with it.
        rows: Of the codes, those that make the person.
    """

    identity: Tensor
    latents: Tensor
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the randomness of a case comes from.

    Attributes:
        seed: The user's seed, and for bystanders and variants which one it is.
        key: Takes the seed's place for the patient.
    """

    seed: tuple[int, ...]
    key: DrawKey | None = None

    @property
    def words(self) -> tuple[int, ...]:
        """Non-negative integers that seed the draws."""
        return self.seed if self.key is None else (*self.key.words(), *self.seed)


def traits_of(settings: Settings) -> tuple[str, ...]:
    """In what a new person must fit the original."""
    return tuple(trait for trait in TRAITS if trait not in settings.freed)


def parts_of(settings: Settings) -> tuple[int, ...]:
    """Classes whose codes a new person brings along."""
    return (*IDENTITY_PARTS, *Replacing.of(settings).parts)


def codes_of(settings: Settings) -> tuple[str, ...]:
    """High-level codes that a new person brings along."""
    return ("identity", *(name for name in HIGH_LEVEL if name in settings.freed))


def propose(
    latents: Tensor,
    wanted: Appearance,
    kept: Sequence[tuple[int, ...]],
    bank: Identities,
    source: Source,
    settings: Settings,
) -> Iterator[Proposal]:
    """People drawn from the bank.

    Args:
        latents: float32 [n, 32, d], the inversion.
        wanted: What the person must fit.
        kept: Kept classes of each photograph.
        bank: The synthetic people.
        source: Of the randomness.
        settings: What is preserved and what is replaced.
    """
    draw = draw_identity if source.key is None else draw_keyed_identity
    parts = parts_of(settings)
    rows = tuple(replaced_rows((), parts))
    for number in range(DRAWS):
        identity = draw(bank, wanted, source.words, number, None, traits_of(settings))
        changed = redraw(latents, identity, list(kept), parts, codes_of(settings))
        yield Proposal(identity, changed, rows)
