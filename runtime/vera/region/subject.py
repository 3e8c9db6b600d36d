"""A face that is to be replaced, and what of its photograph stays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.face.faces import AlignedFace
from vera.region.replaced import IN_PLACE, Replacing

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A face that is to be replaced.

    Attributes:
        photo: The photograph as it is now, other faces perhaps replaced already.
        face: The face as it was.
        kept: bool [h, w], True: the photograph stays.
        kept_classes: The classes whose codes stay, too.
        replacing: What the generated picture takes over.
    """

    photo: Image
    face: AlignedFace
    kept: npt.NDArray[np.bool_]
    kept_classes: tuple[int, ...] = ()
    replacing: Replacing = IN_PLACE
