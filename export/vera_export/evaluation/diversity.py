"""Identity diversity: how alike random people look, generated ones beside those of the data."""

import numpy as np
import numpy.typing as npt

from vera.engines import Engines
from vera.face.faces import embed
from vera_export.calibrate import impostor_cosines
from vera_export.evaluation.readings import Readings

Float = npt.NDArray[np.float32]


def our_embeddings(images: npt.NDArray[np.uint8], readings: Readings, engines: Engines) -> Float:
    """Embeddings [n, 128] of crops by VerA's own embedder, aligned by the teacher's points."""
    points = readings.five.astype(np.float64)
    return np.stack([embed(*pair, engines) for pair in zip(images, points, strict=True)])


def cosine_figures(embeddings: Float) -> dict[str, float]:
    """Distribution of the cosines of all pairs of rows of unit vectors [n, d]."""
    return quantiles(impostor_cosines(embeddings))


def quantiles(cosines: Float) -> dict[str, float]:
    """Mean, median, 95th and 99th percentile, and the largest."""
    return {
        "pairs": len(cosines),
        "mean": float(cosines.mean()),
        "median": float(np.median(cosines)),
        "p95": float(np.quantile(cosines, 0.95)),
        "p99": float(np.quantile(cosines, 0.99)),
        "largest": float(cosines.max()),
    }


def correlation(a: Float, b: Float) -> float | None:
    """Correlation of two lists of numbers; None where one of them does not vary."""
    if len(a) < 2 or min(np.ptp(a), np.ptp(b)) < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])
