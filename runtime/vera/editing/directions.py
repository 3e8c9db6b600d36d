"""In which direction of the latent space a measured value grows: least squares over the bank.

The bank's own people are rendered once and measured; their codes are then explained linearly by
the wanted value and by what must not change with it. The coefficient of the wanted value is the
direction. Which codes may move was chosen on pictures: turned by the pose code alone, the outline
of the head stays where it was and tears (docs/editing.md has the figures).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Identities
from vera.editing.grammar import AGE, MOUTH_OPEN, PITCH, YAW
from vera.editing.look import read, reading_of
from vera.editing.state import Reading
from vera.engines import Engines, Tensor
from vera.pixels.align import to_image

Values = npt.NDArray[np.float64]

_PEOPLE = 512  # of the bank are measured, at most: 20 s on one core
_FEMALE, _HAPPY = "female", "happy"

_EXPRESSION_ROWS = (contract.high_level_row("expression"),)
_POSE_ROWS = (
    *contract.COARSE_ROWS,
    contract.high_level_row("pose"),
    *(contract.shape_row(part) for part in range(1, contract.CLASS_COUNT)),
)
_ROWS = {
    YAW: _POSE_ROWS,
    PITCH: _POSE_ROWS,
    # Textures would go further, by darkening or bleaching the skin and drawing other eyes.
    AGE: (contract.high_level_row("age"),),
}
_HELD = {
    YAW: (PITCH, _HAPPY, MOUTH_OPEN, AGE, _FEMALE),
    PITCH: (YAW, _HAPPY, MOUTH_OPEN, AGE, _FEMALE),
    AGE: (YAW, PITCH, _HAPPY, _FEMALE),
}
_HELD_BY_EXPRESSION = (YAW, PITCH, AGE, _FEMALE)  # the mouth's opening belongs to it


def value_of(reading: Reading, name: str) -> float:
    """The value that an aim of this name moves; of an expression the log odds."""
    if name in contract.EXPRESSIONS:
        chance = min(max(reading.expression[name], 1e-6), 1 - 1e-6)
        return float(np.log(chance / (1 - chance)))
    return {
        YAW: reading.yaw,
        PITCH: reading.pitch,
        AGE: reading.age,
        MOUTH_OPEN: reading.mouth_open,
    }[name]


class Directions:
    """Directions by name of the aim; the bank is measured when the first one is asked for."""

    def __init__(self, bank: Identities, engines: Engines, people: int = _PEOPLE) -> None:
        """Remembers what is needed; at most ``people`` of the bank will be measured."""
        self._bank, self._engines, self._count = bank, engines, people
        self._values: dict[str, Values] = {}

    def along(self, name: str, progress: Callable[[float], None]) -> Tensor:
        """The change of latents [32, d] per unit of what ``name`` aims at; 0 in other rows.

        Args:
            name: Of an aim.
            progress: Called with the done fraction of measuring the bank.
        """
        if not self._values:
            self._values = self._measured(progress)
        held = _HELD.get(name, _HELD_BY_EXPRESSION)
        rows = list(_ROWS.get(name, _EXPRESSION_ROWS))
        columns = [self._values[key] for key in (name, *held)]
        known = np.stack([*columns, np.ones_like(columns[0])], axis=1)
        codes = self._bank.codes[: len(known), rows].astype(np.float64)
        solution = np.linalg.lstsq(known, codes.reshape(len(known), -1), rcond=None)[0]
        direction = np.zeros_like(self._bank.mean)
        direction[rows] = solution[0].reshape(len(rows), -1)
        return direction

    def _measured(self, progress: Callable[[float], None]) -> dict[str, Values]:
        """Each value [m] of the bank's first people."""
        names = (YAW, PITCH, AGE, MOUTH_OPEN, *contract.EXPRESSIONS)
        values: dict[str, list[float]] = {name: [] for name in (*names, _FEMALE)}
        people = self._bank.codes[: self._count]
        for i, code in enumerate(people):
            progress(i / len(people))
            outputs = self._engines.run("generator", latent=np.ascontiguousarray(code[None]))
            attributes = read(to_image(outputs["image"]), self._engines)
            reading = reading_of(attributes)
            for name in names:
                values[name].append(value_of(reading, name))
            values[_FEMALE].append(float(attributes["female"][0, 0]))
        return {name: np.array(column, np.float64) for name, column in values.items()}
