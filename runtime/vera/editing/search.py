"""How far to go in a direction: render, measure, correct, until the asked value is reached.

It stops before the picture becomes another person or falls apart; what was reached is told.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vera.contract import EXPRESSIONS
from vera.editing.directions import value_of
from vera.editing.grammar import AGE, MOUTH_OPEN, PITCH, YAW, Aim
from vera.editing.state import Look, Reached
from vera.engines import Tensor

_TRIES = 9
_FURTHEST = 3.0  # times the length that the least squares promise
_TOLERANCE = {YAW: 0.5, PITCH: 0.5, AGE: 0.5, MOUTH_OPEN: 0.01}
_LOG_ODDS_TOLERANCE = 0.2
_EXPRESSION_WANTED = 0.9  # probability at which an expression counts as made

# Below this cosine an edit of pose, expression or age has made another person of the face.
_SAME_PERSON = 0.7
# And by this much less agreement of generator and parser the picture has begun to fall apart.
_AGREEMENT_LOST = 0.03

_NO_REACH = "the face does not change further"


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    length: float
    value: float
    latents: Tensor
    look: Look
    stopped: str | None = None


def pursue(
    aim: Aim, latents: Tensor, before: Look, direction: Tensor, look: Callable[[Tensor], Look]
) -> tuple[Tensor, Look, Reached]:
    """Changes latents along a direction until the aim is reached, or as far as it goes.

    Args:
        aim: What is asked for.
        latents: float32 [32, d].
        before: Their picture.
        direction: [32, d], the change per unit of the aim.
        look: Renders latents and looks at the picture.

    Returns:
        The latents, their picture, and what was reached.
    """
    start = value_of(before.reading, aim.name)
    goal = start + aim.strength * _change(aim, start)
    tolerance = _TOLERANCE.get(aim.name, _LOG_ODDS_TOLERANCE)
    best = _Trial(0.0, start, latents, before)
    stopped: str | None = None
    if abs(goal - start) > tolerance:
        for trial in _trials(aim, goal, best, direction, look):
            stopped = trial.stopped or stopped
            if trial.stopped is None and abs(trial.value - goal) < abs(best.value - goal):
                best = trial
            if abs(best.value - goal) <= tolerance:
                break
    whole = abs(best.value - goal) <= tolerance
    reached = Reached(
        before=_shown(aim, start),
        wanted=_shown(aim, goal),
        after=_shown(aim, best.value),
        whole=whole,
        stopped=None if whole else stopped or _NO_REACH,
    )
    return best.latents, best.look, reached


def _trials(
    aim: Aim, goal: float, start: _Trial, direction: Tensor, look: Callable[[Tensor], Look]
) -> Iterator[_Trial]:
    """Trials that close in on the goal: by the secant first, by halves once it was passed."""
    asked = goal - start.value
    low, high = start, None
    length = asked
    for _ in range(_TRIES):
        moved = np.asarray(start.latents + np.float32(length) * direction, np.float32)
        after = look(moved)
        value = value_of(after.reading, aim.name)
        trial = _Trial(length, value, moved, after, _loss(start.look, after))
        yield trial
        if trial.stopped is not None or (value - goal) * asked > 0:
            high = length
        else:
            low = trial
        if high is not None:
            length = (low.length + high) / 2
        elif abs(length) >= _FURTHEST * abs(asked):
            return
        else:
            share = float(np.clip((value - start.value) / asked, 0.5, 0.95))
            length = asked * min(_FURTHEST, length / asked / share)


def _loss(before: Look, after: Look) -> str | None:
    """What a picture has lost of the one before the edit, as words; None if nothing that counts."""
    if float(before.embedding @ after.embedding) < _SAME_PERSON:
        return "further on it would be another person"
    if after.agreement < before.agreement - _AGREEMENT_LOST:
        return "further on the picture falls apart"
    return None


def _change(aim: Aim, start: float) -> float:
    """The change asked for, in the unit of ``value_of``; an expression is never made less."""
    if aim.change is not None:
        return aim.change
    wanted = float(np.log(_EXPRESSION_WANTED / (1 - _EXPRESSION_WANTED)))
    return max(0.0, wanted - start)


def _shown(aim: Aim, value: float) -> float:
    """Log odds as a probability, other values as they are."""
    return float(1 / (1 + np.exp(-value))) if aim.name in EXPRESSIONS else value
