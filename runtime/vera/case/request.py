"""What is asked of VerA for one case, before anything is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vera.case.case import Case, KeepLike, PhotoLike, go_on, open_case
from vera.errors import UsageError
from vera.key import CaseKey, DrawKey
from vera.report import PhotoReport
from vera.settings import Settings

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class CaseRequest:
    """Photographs of one person, and what is to be done.

    Attributes:
        photos: Files, bytes of files, or images uint8 [h, w, 3].
        keep: One value for all photographs, or one for each.
        seed: Of all draws; None takes a new random one.
        key: In the seed's place.
        people: float32 [m, e], none of whom may come out.
        settings: The controls.
        largest: Pixels of a file at most, if that is less than the settings say; the report tells
            what they say.
    """

    photos: Sequence[PhotoLike]
    keep: KeepLike | Sequence[KeepLike] = "none"
    seed: int | None = None
    key: CaseKey | DrawKey | None = None
    people: npt.NDArray[np.float32] | None = None
    settings: Settings = field(default_factory=Settings)
    largest: int | None = None

    def open(self, check: Callable[[], None] = go_on) -> Case:
        """The case, its photographs read; see :func:`vera.case.case.open_case`."""
        if self.people is not None and not np.isfinite(self.people).all():
            raise UsageError(
                "distinct_from holds a number that is not finite; pass the embeddings as they came."
            )
        asked = self.settings
        most = asked.pixel_limit if self.largest is None else self.largest
        case = open_case(
            self.photos,
            keep=self.keep,
            seed=self.seed,
            settings=replace(asked, pixel_limit=min(most, asked.pixel_limit)),
            key=self.key,
            check=check,
        )
        return replace(case, settings=asked)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One photograph of a case, done.

    Attributes:
        image: uint8 [h, w, 3] RGB of the photograph's own size, or None if the photograph was
            refused.
        report: What was done and how it was checked.
        person: float32 [e], embedding of the new synthetic person in a neutral view; nothing of the
            patient is in it. None if refused.
    """

    image: npt.NDArray[np.uint8] | None
    report: PhotoReport
    person: npt.NDArray[np.float32] | None = None
