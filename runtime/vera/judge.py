"""A judge: a recogniser of the user's that decides whether an output shows another person.

VerA's own embedder took part in making the new face, so that its word alone proves little; a judge
never saw VerA. What its ONNX file does not tell stands in a card beside it, see
:mod:`vera.gate.judge_card`.
"""

from pathlib import Path

import numpy as np

from vera.errors import RefusedError, UsageError
from vera.gate.judge_card import write_card
from vera.gate.recogniser import Embedding, Image, Points, Recogniser
from vera.report import JudgeReport

__all__ = ["Judge", "Recogniser", "cosine", "passes", "refusal", "write_card"]


class Judge(Recogniser):
    """A recogniser with a threshold.

    Attributes:
        threshold: The cosine that an output must stay below.
        false_accept_rate: Share of pairs of different people above it; None if not known.
        calibration: Where the two come from, as a sentence.
    """

    def __init__(
        self,
        path: Path,
        *,
        threshold: float | None = None,
        values: str | None = None,
        threads: int = 1,
    ) -> None:
        """Opens a judge and tries it on two pictures of noise.

        Args:
            path: The ONNX file.
            threshold: The cosine that must not be reached; None takes the card's.
            values: Range of the input; None takes the card's, or the graph's metadata ``values``.
            threads: Threads of ONNX Runtime.

        Raises:
            UsageError: The file is missing, broken or no recogniser; range or threshold are not
                known or make no sense.
        """
        super().__init__(path, values=values, threads=threads)
        told = threshold is None
        found = self.card.threshold if threshold is None else threshold
        if found is None:
            raise UsageError(
                f"No threshold is known for the judge '{path}'; give --judge-threshold, or let "
                "`vera evaluate --calibrate` find it and write the judge's card."
            )
        if not -1 < found < 1:
            raise UsageError(
                f"The threshold of the judge '{path}' must be a cosine between -1 and 1, got "
                f"{found}; give another."
            )
        self.threshold = float(found)
        self.false_accept_rate = self.card.false_accept_rate if told else None
        self.calibration = (self.card.calibration if told else None) or "Given by the user."

    @classmethod
    def open(
        cls, path: Path, *, threshold: float | None = None, values: str | None = None
    ) -> "Judge":
        """Opens a judge: the constructor by another name."""
        return cls(path, threshold=threshold, values=values)

    def check(
        self,
        original: Image,
        output: Image,
        points_original: Points,
        points_output: Points | None = None,
    ) -> JudgeReport:
        """Compares a face of an output with its original, see :meth:`compare`."""
        before = self.embed(original, points_original)
        return self.compare(before, output, points_original, points_output)

    def compare(
        self,
        original: Embedding,
        output: Image,
        points_original: Points,
        points_output: Points | None = None,
    ) -> JudgeReport:
        """Compares a face of an output with the embedding of its original.

        Args:
            original: float32 [e], of ``embed``; several draws need it once.
            output: uint8 [h, w, 3], the finished photograph.
            points_original: float64 [5, 2], where the face was.
            points_output: float64 [5, 2], where one was found in the output; None if none was.

        Returns:
            The larger cosine of the two alignments, not rounded.

        Raises:
            EngineError: The network failed, or gave something that is no direction.
        """
        places = [points_original] if points_output is None else [points_original, points_output]
        cosines = [cosine(original, self.embed(output, points)) for points in places]
        # Unlike `max`, `np.max` gives NaN if one of them is NaN, and NaN does not pass.
        return JudgeReport(self.name, self.sha256, float(np.max(cosines)), self.threshold)


def cosine(a: Embedding, b: Embedding) -> float:
    """Cosine of two embeddings [e] of unit length."""
    return float(a.astype(np.float64) @ b.astype(np.float64))


def passes(report: JudgeReport) -> bool:
    """Whether the judge takes the output for another person; never true of NaN."""
    return report.cosine < report.threshold


def refusal(report: JudgeReport) -> RefusedError:
    """Why an output with this report is not written."""
    return RefusedError(
        "judge-too-close",
        f"The judge {report.name} takes the new face for the original: cosine "
        f"{report.cosine:.2f}, allowed below {report.threshold:.2f}; keep a smaller region, or try "
        "another seed.",
    )
