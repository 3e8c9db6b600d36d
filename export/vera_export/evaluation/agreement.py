"""Agreement of part maps: intersection over union of each class, pooled over images."""

import numpy as np
import numpy.typing as npt

from vera import contract

Labels = npt.NDArray[np.integer]

# Hardly ever labelled in the training images; what they score says nothing.
RARE = ("glasses", "hat", "earring")


class Agreement:
    """Counts pixels of two part maps, pair by pair.

    Attributes:
        table: int64 [13, 13], pixels by wanted class (row) and found class (column).
    """

    def __init__(self) -> None:
        """Starts with no pixel counted."""
        k = contract.CLASS_COUNT
        self.table = np.zeros((k, k), np.int64)

    def add(self, found: Labels, wanted: Labels) -> None:
        """Counts two maps of the same shape."""
        k = contract.CLASS_COUNT
        pairs = wanted.astype(np.int64).ravel() * k + found.astype(np.int64).ravel()
        self.table += np.bincount(pairs, minlength=k * k).reshape(k, k)

    def iou(self) -> dict[str, float]:
        """IoU of every class that is wanted anywhere."""
        both = self.table.diagonal()
        union = self.table.sum(0) + self.table.sum(1) - both
        return {
            name: float(both[i] / max(union[i], 1))
            for i, name in enumerate(contract.CLASSES)
            if self.table[i].sum() > 0
        }

    def figures(self) -> dict[str, float]:
        """``mean`` over the classes that are not rare, then each class that occurs."""
        by_class = self.iou()
        common = [value for name, value in by_class.items() if name not in RARE]
        return {"mean": float(np.mean(common)) if common else 0.0, **by_class}


def overlap(found: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 if both are empty."""
    union = int((found | wanted).sum())
    return float((found & wanted).sum() / union) if union else 1.0
