"""A whole synthetic person by seed."""

import numpy as np

from vera.bundle import Identities
from vera.contract import high_level_row
from vera.engines import Tensor
from vera.face.appearance import Appearance
from vera.identity.redraw import draw_identity, redraw


def draw_person(bank: Identities, seed: int) -> Tensor:
    """Latents [32, d] of a person who never lived; a pure function of its arguments.

    One of the bank's heads, with a new identity drawn for it as for a patient's head.

    Args:
        bank: The synthetic people.
        seed: 0 or more.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed,))))
    head = int(random.integers(len(bank.codes)))
    wanted = Appearance(
        skin=bank.skin[head],
        female=float(bank.female[head]),
        age=float(bank.age[head]),
        yaw=float(bank.yaw[head]),
        expression=bank.codes[head, high_level_row("expression")],
        embedding=bank.embedding[head],
    )
    identity = draw_identity(bank, wanted, (seed,), 0)
    person: Tensor = redraw(bank.codes[head][None], identity, [()])[0]
    return person


def truncated(latents: Tensor, bank: Identities, share: float) -> Tensor:
    """Latents [32, d] drawn towards the bank's mean face; ``share`` of the distance is left."""
    mean = bank.codes.mean(0)
    return np.asarray(mean + np.float32(share) * (latents - mean), np.float32)
