"""Whether all targets do the same work: the same queries, the same results, before any timing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vera.benchmark.target import Answer, Image, Query, Target
from vera.errors import EngineError


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a target's results are from the first target's.

    Attributes:
        target: Its name.
        pictures: Compared.
        equal: Of these, equal in every pixel.
        largest: Largest difference of a pixel, in grey levels.
        mean: Largest mean difference of a picture, in grey levels.
        loss: Largest relative difference of a final loss.
        allowed: What of ``loss`` is allowed; where it is 0 all pictures must be equal, too.
    """

    target: str
    pictures: int
    equal: int
    largest: int
    mean: float
    loss: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the targets agree."""
        return self.loss <= self.allowed and (self.allowed > 0 or self.equal == self.pictures)


def require_agreement(targets: Sequence[Target], queries: Sequence[Query]) -> list[Agreement]:
    """Lets all targets do the same queries and compares their results with the first target's.

    Raises:
        EngineError: A target does other work than the first.
    """
    first, *others = targets
    wanted = [first.ask(query, images=True) for query in queries] if others else []
    found = []
    for target in others:
        answers = [target.ask(query, images=True) for query in queries]
        allowed = max(first.tolerance, target.tolerance)
        found.append(agreement(target.name, wanted, answers, allowed))
        if not found[-1].holds:
            raise EngineError(
                f"{target.name} and {first.name} do not do the same work: {found[-1].equal} of "
                f"{found[-1].pictures} pictures are equal, final losses differ by up to "
                f"{100 * found[-1].loss:.2g} %; compare targets of one bundle, version and setting."
            )
    return found


def agreement(
    name: str, wanted: Sequence[Answer], answers: Sequence[Answer], allowed: float
) -> Agreement:
    """Differences of two lists of answers; what only one of them refused differs without limit."""
    pairs = [
        pair
        for one, other in zip(wanted, answers, strict=True)
        for pair in zip(one.images, other.images, strict=True)
        if pair[0] is not None or pair[1] is not None
    ]
    differences = [_difference(*pair) for pair in pairs]
    losses = [_relative(one.loss, other.loss) for one, other in zip(wanted, answers, strict=True)]
    refused = any(one.refused != other.refused for one, other in zip(wanted, answers, strict=True))
    return Agreement(
        target=name,
        pictures=len(pairs),
        equal=sum(largest == 0 for largest, _ in differences),
        largest=max((largest for largest, _ in differences), default=0),
        mean=max((average for _, average in differences), default=0.0),
        loss=1.0 if refused else max(losses, default=0.0),
        allowed=allowed,
    )


def _relative(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else 1.0
    return abs(one - other) / max(abs(one), abs(other), 1e-12)


def _difference(one: Image | None, other: Image | None) -> tuple[int, float]:
    if one is None or other is None or one.shape != other.shape:
        return 255, 255.0
    difference = np.abs(one.astype(np.int16) - other)
    return int(difference.max()), float(difference.mean())
