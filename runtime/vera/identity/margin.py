"""New people by optimisation: a synthetic neighbour is moved until it is far from the original.

After FALCO (Barattin 2023, arXiv 2303.11296): start at a synthetic person with the original's
attributes, then take gradient steps on the identity codes against likeness and for the attributes.
FALCO's loss is the distance of the cosine to a number, which pulls a person who is unlike enough
back towards the original; here a band of cosines costs nothing. See docs/margin.md.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle, Identities
from vera.engines import Engines, Tensor
from vera.errors import UsageError
from vera.face.appearance import TRAITS, Appearance, appearance, candidates
from vera.identity.inversion import settled
from vera.identity.margin_loss import MarginConfig, Movable, Objective, Reading, differences
from vera.identity.proposals import Proposal, codes_of, traits_of
from vera.identity.redraw import replaced_rows
from vera.ops.adam_step import adam_state_for, adam_step
from vera.region.subject import Subject
from vera.settings import Settings

Progress = Callable[[float], None]

# How many starts are moved before the photographs are refused, and out of how many nearest
# neighbours the seed picks them: with the nearest alone two patients could share it.
STARTS = 4
NEIGHBOURS = 8

# The nearest in attributes, whose differences are the directions that a person is moved in.
PEOPLE = 128

# Some people of the bank have shadows or glasses in the codes of their skin, which look like wounds
# on another head. Their codes lie far out, so the outermost third is left out, and a start is drawn
# this far towards the mean of the nearest.
_USUAL = 2 / 3
CIRCLE = 24
TRUNCATION = 0.7


@dataclass(frozen=True, slots=True)
class MarginReport:
    """What the optimisation reached; of several photographs the worst.

    Attributes:
        steps: Gradient steps taken.
        cosine_before: Cosine to the original of the start, as the guide sees it.
        cosine_after: The same of the moved person.
        attributes_before: Attribute loss of the start.
        attributes_after: The same of the moved person.
    """

    steps: int
    cosine_before: float
    cosine_after: float
    attributes_before: float
    attributes_after: float


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """A moved person: codes float32 [32, d], latents of the photographs [n, 32, d], report."""

    identity: Tensor
    latents: Tensor
    report: MarginReport


def require_guide(bundle: Bundle) -> None:
    """Raises a UsageError if nobody can be moved with this bundle."""
    if "guide" not in bundle.engines:
        raise UsageError(
            f"The bundle {bundle.name} has no engine guide, which --method margin needs; use "
            "--method draw, or a bundle with VerA's own embedder."
        )


def nearest(
    bank: Identities, wanted: Appearance, count: int, traits: Collection[str] = TRAITS
) -> npt.NDArray[np.intp]:
    """Indices [count] of the synthetic people nearest in attributes, whoever they resemble.

    People with unusual identity codes are left out.
    """
    rows = replaced_rows()
    spread = np.maximum(bank.std[rows], 1e-6)
    unusual = (((bank.codes[:, rows] - bank.mean[rows]) / spread) ** 2).mean((1, 2))
    order = candidates(bank, wanted, len(unusual), 0.0, traits)
    usual = order[unusual[order] <= np.quantile(unusual, _USUAL)]
    return np.asarray(usual[:count], np.intp)


def propose_moved(
    case: Movable,
    bundle: Bundle,
    engines: Engines,
    words: tuple[int, ...],
    progress: Progress | None = None,
    config: MarginConfig | None = None,
) -> Iterator[Proposal]:
    """People moved away from the original, as :func:`vera.identity.proposals.propose` draws them.

    Args:
        case: The photographs.
        bundle: The synthetic people and the gate.
        engines: Runs the engines.
        words: Of ``proposals.Source``; they pick the starts among the nearest neighbours.
        progress: Called with the done fraction of each start's optimisation.
        config: Settings; None takes those that suit the bundle.

    Raises:
        UsageError: The bundle has no guide.
    """
    require_guide(bundle)
    config = config or MarginConfig.suited(bundle)
    codes = bundle.identities.codes
    order = nearest(bundle.identities, case.wanted, PEOPLE, case.traits)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
    rows = tuple(replaced_rows((), case.parts))
    centre = codes[order[:CIRCLE]].mean(0)
    for index in random.permutation(order[:NEIGHBOURS])[:STARTS]:
        start = centre + np.float32(TRUNCATION) * (codes[index] - centre)
        moved = move_identity(case, start, codes[order], engines, config, progress)
        yield Proposal(moved.identity, moved.latents, rows)


def movable(
    subjects: Sequence[Subject], latents: Tensor, parts: Sequence[int], settings: Settings
) -> Movable:
    """The photographs of a case with what ``settings`` preserve."""
    wanted = appearance([subject.face for subject in subjects], latents)
    traits, codes = traits_of(settings), codes_of(settings)
    return Movable(subjects, latents, wanted, traits, parts, codes, settings.freed)


def move_identity(
    case: Movable,
    start: Tensor,
    people: Tensor,
    engines: Engines,
    config: MarginConfig,
    progress: Progress | None = None,
) -> Moved:
    """Moves a synthetic person away from the original; all other codes stay as they are.

    The way leads along the main differences between ``people``. Stops after ``config.steps`` steps,
    or earlier when every photograph is in the band and the loss has settled. A pure function of its
    arguments.

    Args:
        case: The photographs.
        start: float32 [32, d], the synthetic person.
        people: float32 [m, 32, d], synthetic people with the original's attributes, m above 1.
        engines: Runs the engines, the guide among them.
        config: Settings.
        progress: Called with the done fraction.

    Raises:
        EngineError: An engine failed, or loss or gradient are not finite.
    """
    basis = differences(people[:, case.all_rows], config.directions)
    objective = Objective(case, start, basis, engines, config)
    places = np.zeros((1, 1, len(basis)), np.float32)
    state = adam_state_for(places)
    readings: list[Reading] = []
    best = places.copy()
    for step in range(1, config.steps + 2):
        last = step > config.steps
        reading, grad = objective.evaluate(places, fit=(step - 1) % config.refit == 0 or last)
        if not readings or reading.loss <= min(r.loss for r in readings):
            best[...] = places
        readings.append(reading)
        if progress is not None:
            progress(step / (config.steps + 1))
        if last or _done(readings, config):
            break
        adam_step(
            places,
            grad,
            state,
            step=step,
            steps=config.steps,
            learning_rate=config.learning_rate,
            latent_mean=np.zeros_like(places[0]),
            regulariser=config.regulariser,
        )
    identity = objective.identity(best)
    return Moved(identity, case.with_identity(identity), _report(readings))


def _report(readings: Sequence[Reading]) -> MarginReport:
    first, after = readings[0], min(readings, key=lambda r: r.loss)
    return MarginReport(
        len(readings) - 1, first.cosine, after.cosine, first.attributes, after.attributes
    )


def _done(readings: Sequence[Reading], config: MarginConfig) -> bool:
    inside = readings[-1].cosine <= config.high
    return inside and settled([r.loss for r in readings], config.patience, config.tolerance)
