"""By how much the kept region is grown: photo pixels, or millimetres on the scale of the face."""

import re
from dataclasses import dataclass
from typing import Literal

from vera.errors import UsageError
from vera.request.polygon import shortened

# Between the pupils of adults. Dodgson (2004), "Variation and extrema of human interpupillary
# distance", Proc. SPIE 5291: mean 63.36 mm, standard deviation 3.83 mm; children have less.
PUPIL_DISTANCE_MM = 63.0

# Beyond these a region is no longer what was asked for: 30 mm around a mouth is half of the face.
_LARGEST = {"px": 200.0, "mm": 30.0}

# Without two neighbours that match the same digits: such a pattern takes quadratic time to fail.
_TEXT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(px|mm)", re.ASCII | re.IGNORECASE)
_LONGEST_TEXT = 32


@dataclass(frozen=True, slots=True)
class Margin:
    """A width around the kept region.

    Attributes:
        size: 0 and up.
        unit: Pixels of the photograph, or millimetres at the face.
    """

    size: float
    unit: Literal["px", "mm"]

    @classmethod
    def parse(cls, text: str) -> "Margin":
        """Read ``3px`` or ``1.5mm``.

        Raises:
            UsageError: No such width, or more than 200px or 30mm.
        """
        found = _TEXT.fullmatch(text.strip()) if len(text) <= _LONGEST_TEXT else None
        if found is None:
            raise UsageError(
                f"'{shortened(text)}' is no margin; give pixels of the photograph or millimetres, "
                "such as 3px or 1.5mm."
            )
        size, unit = float(found[1]), found[2].lower()
        if size > _LARGEST[unit]:
            raise UsageError(
                f"The margin is {size:g}{unit}, more than {_LARGEST[unit]:g}{unit}; keep a larger "
                "region by a polygon or a mask instead."
            )
        return cls(size, "px" if unit == "px" else "mm")

    def pixels(self, eye_distance_px: float) -> float:
        """The width in photo pixels of a face whose pupils are ``eye_distance_px`` apart.

        Millimetres hold for an adult's face seen from the front. The pupils of a child, or of a
        face turned to the side, are closer, and the margin comes out narrower by as much.
        """
        if self.unit == "px":
            return self.size
        return self.size * eye_distance_px / PUPIL_DISTANCE_MM
