"""Recognisers with their thresholds: VerA's own embedder and the user's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle
from vera.engines import Engines, Tensor
from vera.errors import UsageError
from vera.face.faces import embed

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

OWN = "vera-embedder"


class RecogniserLike(Protocol):
    """What tells faces apart; see :class:`vera.gate.recogniser.Recogniser`."""

    name: str
    sha256: str

    def embed(self, image: Image, points: Points, hidden: Mask | None = None) -> Tensor:
        """Embedding [e], unit length, of the face with these five points.

        ``hidden``, bool [h, w], is painted over in the crop with the mean colour of the rest.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """A recogniser and the cosine above which it takes two faces for one person.

    Attributes:
        name: Unique among the matchers of an evaluation.
        sha256: First 12 digits of its file's hash.
        recogniser: Gives embeddings.
        threshold: A pair matches if its cosine is above it.
        false_accept_rate: Share of pairs of different people that match; None if not known.
        calibration: Where threshold and rate come from, as a sentence.
        role: What its figures may be used for, as a sentence.
    """

    name: str
    sha256: str
    recogniser: RecogniserLike
    threshold: float
    false_accept_rate: float | None
    calibration: str
    role: str

    @property
    def label(self) -> str:
        """As in tables: VerA's own is marked, because its figures are no privacy result."""
        return f"{self.name} (own)" if self.name == OWN else self.name

    def embed(self, image: Image, points: Points, hidden: Mask | None = None) -> Tensor:
        """Embedding [e], unit length; see :class:`RecogniserLike`."""
        return self.recogniser.embed(image, points, hidden)


class _Embedder:
    """VerA's embedder as a recogniser."""

    name = OWN

    def __init__(self, engines: Engines, sha256: str) -> None:
        self._engines = engines
        self.sha256 = sha256

    def embed(self, image: Image, points: Points, hidden: Mask | None = None) -> Tensor:
        return embed(image, points, self._engines, hidden)


def own_matcher(bundle: Bundle, engines: Engines) -> Matcher:
    """VerA's embedder with the gate's threshold."""
    sha256 = bundle.hashes["embedder"][:12]
    return Matcher(
        OWN,
        sha256,
        _Embedder(engines, sha256),
        bundle.gate.cosine_threshold,
        bundle.gate.false_accept_rate,
        bundle.gate.calibration,
        "VerA's own embedder, used in its training and its gate: no privacy result.",
    )


def check_names(names: Sequence[str], independent: Sequence[str]) -> None:
    """Checks the names of the user's recognisers, and of those that the user vouches for.

    Raises:
        UsageError: Two have one name, or a vouched name is none of theirs.
    """
    if len({*names, OWN}) <= len(names):
        raise UsageError(
            f"Judges need different names other than '{OWN}', got {', '.join(names)}; rename "
            "their files."
        )
    for name in independent:
        if name not in names:
            raise UsageError(
                f"--independent names '{name}', but the judges are {', '.join(names) or 'none'}; "
                "give one of their names."
            )


def judge_matchers(
    judges: Sequence[RecogniserLike],
    thresholds: Sequence[tuple[float, float | None, str]],
    independent: Sequence[str],
) -> tuple[Matcher, ...]:
    """The user's recognisers.

    Args:
        judges: Opened recognisers.
        thresholds: For each its threshold, false-accept rate and the source of both.
        independent: Names of those that the user vouches for.
    """
    return tuple(
        Matcher(judge.name, judge.sha256, judge, *threshold, _role(judge.name in independent))
        for judge, threshold in zip(judges, thresholds, strict=True)
    )


def _role(vouched: bool) -> str:
    if vouched:
        return "Independent of VerA's training by the word of whoever ran the evaluation."
    return "Not stated whether VerA's networks were trained with it or with networks like it."
