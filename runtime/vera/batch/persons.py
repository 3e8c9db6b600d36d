"""No two cases of an output folder get the same new person: who was given away, and to whom.

Embeddings are those of synthetic people in a neutral view. They are rounded to float16, as the
journal stores them, before anything is compared: a resumed job decides as one that ran through.
"""

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]


class Persons:
    """The new people of an output folder, by one embedder; a look-up is one matrix product."""

    def __init__(self, limit: float) -> None:
        """``limit`` is the largest cosine at which two people count as different."""
        self.limit = limit
        self._rows = np.empty((0, 0), np.float32)
        self._owners: list[str] = []

    def add(self, owner: str, people: Embeddings) -> None:
        """Remember the people of a case.

        Args:
            owner: The case; cases with one owner may share a person.
            people: float32 [v, e], unit vectors.
        """
        used = len(self._owners)
        if used + len(people) > len(self._rows):  # doubled, so that n cases are copied 2 n times
            larger = np.empty((2 * used + len(people), people.shape[1]), np.float32)
            if used:
                larger[:used] = self._rows[:used]
            self._rows = larger
        self._rows[used : used + len(people)] = people
        self._owners += [owner] * len(people)

    def of_others(self, owner: str) -> Embeddings:
        """The people of all other cases, float32 [m, e]."""
        other = np.array([name != owner for name in self._owners], bool)
        people: Embeddings = self._rows[: len(self._owners)][other]
        return people

    def taken(self, owner: str, people: Embeddings) -> bool:
        """Whether one of ``people``, float32 [v, e], was given to another case."""
        return too_close(people, self.of_others(owner), self.limit)


def too_close(people: Embeddings, others: Embeddings, limit: float) -> bool:
    """Whether a cosine between the two sets of unit vectors, [v, e] and [m, e], exceeds ``limit``.

    Args:
        people: float32 [v, e].
        others: float32 [m, e].
        limit: The largest cosine allowed.
    """
    return len(others) > 0 and bool((people @ others.T).max() > limit)


def rounded(people: Sequence[Embeddings]) -> Embeddings:
    """Embeddings [e], scaled to unit length and rounded, as float32 [v, e]."""
    rows = np.stack(people)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return np.asarray(unit.astype(np.float16), np.float32)


def to_text(people: Embeddings) -> tuple[str, ...]:
    """Rounded embeddings, float32 [v, e], each as base64 of float16, little-endian."""
    return tuple(base64.b64encode(row.astype("<f2").tobytes()).decode() for row in people)


def from_text(texts: Sequence[str]) -> Embeddings:
    """What :func:`to_text` was given, float32 [v, e], bit for bit.

    Raises:
        ValueError: It is no base64 of float16, or the rows differ in length.
    """
    rows = [np.frombuffer(base64.b64decode(text), "<f2") for text in texts]
    return np.stack(rows).astype(np.float32)
