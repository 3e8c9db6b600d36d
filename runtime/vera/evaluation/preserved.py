"""How a region of an output compares with the photograph: pixels, shape, place."""

import numpy as np
import numpy.typing as npt

from vera.evaluation.originals import Original
from vera.request.keep import Keep

Image = npt.NDArray[np.uint8]

# Which of the five points lie in a region; the others have none.
_POINTS = {"mouth": (3, 4), "nose": (2,), "eyes": (0, 1)}


def region_figures(
    original: Original,
    output: Image,
    region: str,
    labels: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float64] | None,
) -> dict[str, float]:
    """Figures of one region, named ``<figure>/<region>``.

    * ``l1``: mean absolute difference, grey levels of 255.
    * ``exact``: 1 if every pixel is equal, else 0; then ``psnr`` in dB is missing, being infinite.
    * ``iou``: intersection over union of the region's parts in the two part maps.
    * ``offset_px``, ``offset``: mean distance of its points, in pixels of the photograph and in
      per cent of the original's eye distance.

    Args:
        original: The photograph as it was, with its regions.
        output: uint8 [h, w, 3].
        region: Name of the region.
        labels: uint8 [256, 256], part map of the output in the original's crop.
        points: float64 [5, 2] found in the output, or None.

    Returns:
        Nothing where the photograph does not show the region.
    """
    if region not in original.regions:
        return {}
    inside = original.regions[region]
    before = original.image[inside].astype(np.float32)
    difference = output[inside].astype(np.float32) - before
    error = float(np.square(difference).mean())
    figures = {"l1": float(np.abs(difference).mean()), "exact": float(error == 0)}
    if error > 0:
        figures["psnr"] = float(10 * np.log10(255.0**2 / error))
    figures |= _overlap(original.face.labels, labels, Keep.parse(region).classes)
    if points is not None and region in _POINTS:
        places = list(_POINTS[region])
        moved = np.linalg.norm(points[places] - original.face.points[places], axis=1).mean()
        figures["offset_px"] = float(moved)
        figures["offset"] = 100 * float(moved) / max(original.face.eye_distance_px, 1e-6)
    return {f"{name}/{region}": value for name, value in figures.items()}


def _overlap(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], classes: tuple[int, ...]
) -> dict[str, float]:
    first, second = np.isin(before, classes), np.isin(after, classes)
    union = int((first | second).sum())
    return {"iou": int((first & second).sum()) / union} if union else {}
