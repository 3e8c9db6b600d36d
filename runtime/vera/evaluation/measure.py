"""One output beside its original: likeness, regions, face, attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from vera.engines import Engines, Tensor
from vera.evaluation.frechet import pooled_features
from vera.evaluation.matchers import Matcher
from vera.evaluation.originals import Original
from vera.evaluation.preserved import region_figures
from vera.face.detect import box_iou, detect, same_place
from vera.face.faces import AlignedFace, align_face, detector
from vera.face.readings import change, read_face
from vera.gate.seam import measure_seam
from vera.pixels.align import crop_matrix, to_tensor, warp_to_crop
from vera.pixels.labels import probabilities, to_labels

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]
Embeddings = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Instruments:
    """What measures.

    Attributes:
        engines: VerA's detector, parser, attributes and perceptual network.
        matchers: Recognisers with thresholds.
        regions: Names of the regions that are looked at in every output.
        margin: Of the regions, as in ``keep_margin``; None is the built-in one.
    """

    engines: Engines
    matchers: Sequence[Matcher]
    regions: Sequence[str]
    margin: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """A photograph, as it was or anonymised, as the recognisers see it.

    Attributes:
        embeddings: By matcher.
        masked: By region and matcher, with that region painted over; regions not seen are missing.
        features: float64 [d], pooled perceptual features of the aligned face.
    """

    embeddings: Embeddings
    masked: Mapping[str, Embeddings]
    features: Float


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """An output.

    Attributes:
        figures: By name, such as ``cosine/vera`` or ``l1/mouth``; what could not be measured is
            missing.
        described: For the comparison with the person's other photographs.
    """

    figures: Mapping[str, float]
    described: Described


def describe(
    image: Image, points: Float, original: Original, regions: Sequence[str], tools: Instruments
) -> Described:
    """What the recognisers say of ``image``, a photograph or its output.

    Args:
        image: uint8 [h, w, 3].
        points: The face's five points in it.
        original: The photograph it belongs to.
        regions: Regions to paint over, one at a time.
        tools: What measures.
    """
    masked = {}
    for region in regions:
        if region in original.regions:
            hidden = original.regions[region]
            masked[region] = {m.name: m.embed(image, points, hidden) for m in tools.matchers}
    crop = warp_to_crop(image, _matrix(original, tools), tools.engines.layout.image)
    return Described(
        {m.name: m.embed(image, points) for m in tools.matchers},
        masked,
        pooled_features(crop, tools.engines),
    )


def measure(
    original: Original, before: Described, output: Image, keep: str, tools: Instruments
) -> Measured:
    """Compares an output with its original.

    The cosine is the larger one of two alignments, by the original's points and by those found in
    the output: the choice that speaks against the method.

    Args:
        original: The photograph as it was.
        before: What the recognisers say of it.
        output: uint8 [h, w, 3], of its size.
        keep: The region that the row keeps, or ``none``.
        tools: What measures.
    """
    match = same_face(original.face, output, tools.engines)
    points = original.face.points if match is None else match.points
    kept = () if keep == "none" else (keep,)
    described = describe(output, points, original, kept, tools)
    figures: dict[str, float] = {"detected": float(match is not None)}
    for matcher in tools.matchers:
        cosines = [float(described.embeddings[matcher.name] @ before.embeddings[matcher.name])]
        if match is not None:
            fixed = matcher.embed(output, original.face.points)
            cosines.append(float(fixed @ before.embeddings[matcher.name]))
        figures[f"cosine/{matcher.name}"] = max(cosines)
    labels = _labels_at(output, original, tools.engines)
    found = None if match is None else match.points
    for region in tools.regions:
        figures |= region_figures(original, output, region, labels, found)
    if match is not None:
        overlap = box_iou(original.face.found.box, match.found.box[None])[0]
        figures["box_iou"] = float(overlap)
        figures |= attribute_changes(original, output, labels, tools.engines)
    changed = (output != original.image).any(axis=2)
    seam = measure_seam(original.image, output, changed, original.face.matrix)
    if seam.pixels:
        figures |= {"seam": seam.step, "seam_p95": seam.step_p95}
    return Measured(figures, described)


def same_face(face: AlignedFace, output: Image, engines: Engines) -> AlignedFace | None:
    """The original's face found again in the output, or None."""
    match = same_place(face.found, detect(detector(engines), output))
    return None if match is None else align_face(output, match, engines)


def attribute_changes(
    original: Original, output: Image, labels: npt.NDArray[np.uint8], engines: Engines
) -> dict[str, float]:
    """How far the attributes moved, absolute; units as in :class:`vera.report.AttributeChange`.

    Both are read in the original's own square, in which ``labels`` is the output's part map.
    """
    face = original.face
    before = read_face(original.image, face.points, engines, face.labels)
    moved = asdict(change(before, read_face(output, face.points, engines, labels)))
    return {name: abs(value) for name, value in moved.items() if value is not None}


def _matrix(original: Original, tools: Instruments) -> Float:
    return crop_matrix(original.face.points, size=tools.engines.layout.image)


def _labels_at(output: Image, original: Original, engines: Engines) -> npt.NDArray[np.uint8]:
    """Part map of the output in the original's own crop, so that a part that moved shows."""
    size = engines.layout.parser
    crop = warp_to_crop(output, crop_matrix(original.face.points, size=size), size)
    return to_labels(probabilities(engines.run("parser", crop=to_tensor(crop))["logits"]))
