"""A recogniser's threshold, from photographs whose people are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera.engines import Engines, Tensor
from vera.errors import UsageError
from vera.evaluation.matchers import RecogniserLike
from vera.evaluation.originals import open_original
from vera.evaluation.people import Person
from vera.evaluation.statistics import Estimate, estimate

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a folder of pairs says about a recogniser.

    Attributes:
        name: Of the recogniser.
        threshold: Cosine; a pair matches if it is above.
        wanted_rate: The false-accept rate that was asked for.
        false_accept_rate: Share of the impostor pairs that match; at most ``wanted_rate``.
        true_accept: Share of the genuine pairs that match, over people.
        impostor_pairs: Pairs of photographs of different people.
        genuine_pairs: Pairs of photographs of one person.
        photographs: Photographs in which a face was found.
        people: People they show.
    """

    name: str
    threshold: float
    wanted_rate: float
    false_accept_rate: float
    true_accept: Estimate
    impostor_pairs: int
    genuine_pairs: int
    photographs: int
    people: int

    @property
    def coarse(self) -> bool:
        """Whether the pairs are too few to see the rate asked for."""
        return self.impostor_pairs * self.wanted_rate < 1

    @property
    def source(self) -> str:
        """Where the threshold comes from, as a sentence for a judge's card."""
        return (
            f"vera evaluate --calibrate: {self.impostor_pairs} impostor and {self.genuine_pairs} "
            f"genuine pairs of {self.people} people, false-accept rate asked for "
            f"{self.wanted_rate:g}, true-accept rate {self.true_accept.mean:.3f}."
        )


def calibrate(
    people: Sequence[Person],
    recognisers: Sequence[RecogniserLike],
    engines: Engines,
    *,
    false_accept_rate: float,
    say: Callable[[str], None],
) -> tuple[Calibration, ...]:
    """Thresholds at a false-accept rate, one for each recogniser.

    Raises:
        UsageError: The rate is no share, or there are no pairs of either kind.
    """
    if not 0 < false_accept_rate < 1:
        raise UsageError(
            f"The false-accept rate must lie between 0 and 1, got {false_accept_rate:g}; 0.001 "
            "is usual."
        )
    owners: list[int] = []
    embeddings: list[list[Tensor]] = [[] for _ in recognisers]
    for done, person in enumerate(people):
        say(f"calibration: person {done + 1} of {len(people)}")
        for path in person.photos:
            original = open_original(path, (), engines)
            if original is None:
                continue
            owners.append(person.number)
            for row, recogniser in zip(embeddings, recognisers, strict=True):
                row.append(recogniser.embed(original.image, original.face.points))
    return tuple(
        calibration(recogniser.name, np.asarray(owners), np.asarray(row), false_accept_rate)
        for recogniser, row in zip(recognisers, embeddings, strict=True)
    )


def calibration(
    name: str, owners: npt.NDArray[np.int_], embeddings: npt.NDArray[np.float32], rate: float
) -> Calibration:
    """The threshold for embeddings [n, e] of photographs of ``owners`` [n].

    Raises:
        UsageError: There are no genuine or no impostor pairs.
    """
    first, second = np.triu_indices(len(owners), 1)
    same = owners[first] == owners[second] if len(owners) else np.zeros(0, np.bool_)
    if same.all() or not same.any():
        raise UsageError(
            f"The folder to calibrate with has {int(same.sum())} pairs of one person and "
            f"{int((~same).sum())} of two people in which faces were found; both are needed."
        )
    cosines = (embeddings @ embeddings.T)[first, second].astype(np.float64)
    threshold = threshold_at(cosines[~same], rate)
    accepted = zip(owners[first][same], cosines[same] > threshold, strict=True)
    true_accept = estimate([(int(owner), float(hit)) for owner, hit in accepted], share=True)
    assert true_accept is not None  # there are genuine pairs
    return Calibration(
        name=name,
        threshold=threshold,
        wanted_rate=rate,
        false_accept_rate=float((cosines[~same] > threshold).mean()),
        true_accept=true_accept,
        impostor_pairs=int((~same).sum()),
        genuine_pairs=int(same.sum()),
        photographs=len(owners),
        people=len(set(owners.tolist())),
    )


def threshold_at(impostors: Float, rate: float) -> float:
    """The smallest impostor cosine of which at most the share ``rate`` of the others lie above."""
    falling = np.sort(impostors)[::-1]
    return float(falling[int(np.floor(rate * len(falling)))])
