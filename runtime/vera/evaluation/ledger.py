"""Every value that was measured, by row and name, and the estimates made of them."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from vera.evaluation.statistics import Estimate, estimate

# The row of the photographs as they were.
INPUT = "input"

# Names, up to their first slash, whose means are shares.
_SHARES = frozenset(
    (
        *("face_found", "written", "detected", "deidentified", "protected", "exact"),
        *("within", "within_all"),
    )
)


class Ledger:
    """Values by row and name, each with the person it belongs to.

    Attributes:
        reasons: By row, why photographs have no output.
        features: By row (person, float64 [d]) each, pooled features of the faces.
        embeddings: By row and matcher (person, float32 [e]) each. They identify: they are compared
            and never written.
        records: One entry for each photograph and each pair, for the machine-readable figures.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self.reasons: dict[str, Counter[str]] = {}
        self.features: dict[str, list[tuple[int, npt.NDArray[np.float64]]]] = {}
        self.records: list[dict[str, object]] = []
        self.embeddings: dict[str, dict[str, list[tuple[int, npt.NDArray[np.float32]]]]] = {}
        self._values: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self._estimates: dict[tuple[str, str], Estimate | None] = {}

    def add(self, row: str, person: int, **figures: float) -> None:
        """Adds values of one photograph or pair."""
        names = self._values.setdefault(row, {})
        for name, value in figures.items():
            names.setdefault(name, []).append((person, float(value)))
            self._estimates.pop((row, name), None)

    def values(self, row: str, name: str) -> npt.NDArray[np.float64]:
        """All values of a name, float64 [n]."""
        return np.array([value for _, value in self._values.get(row, {}).get(name, ())], np.float64)

    def estimate(self, row: str, name: str) -> Estimate | None:
        """Mean and interval of a name; None where nothing was measured."""
        key = (row, name)
        if key not in self._estimates:
            self._estimates[key] = estimate(
                self._values.get(row, {}).get(name, ()), share=name.split("/")[0] in _SHARES
            )
        return self._estimates[key]

    def describe(
        self,
        row: str,
        person: int,
        features: npt.NDArray[np.float64],
        embeddings: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        """Adds what networks say of one face, for figures over all faces of a row."""
        self.features.setdefault(row, []).append((person, features))
        for matcher, embedding in embeddings.items():
            self.embeddings.setdefault(row, {}).setdefault(matcher, []).append((person, embedding))

    def others(self, row: str, matcher: str, threshold: float) -> float | None:
        """Share of the pairs of faces of two people that match; None without such pairs."""
        found = self.embeddings.get(row, {}).get(matcher, [])
        owners = np.array([person for person, _ in found])
        first, second = np.triu_indices(len(owners), 1)
        apart = owners[first] != owners[second] if len(owners) else np.zeros(0, np.bool_)
        if not apart.any():
            return None
        matrix = np.stack([embedding for _, embedding in found])
        cosines = (matrix @ matrix.T)[first[apart], second[apart]]
        return float((cosines > threshold).mean())

    def names(self, row: str) -> list[str]:
        """What was measured in a row, in the order of its first appearance."""
        return list(self._values.get(row, {}))

    def rows(self) -> Iterator[str]:
        """The rows, in the order of their first value."""
        return iter(self._values)
