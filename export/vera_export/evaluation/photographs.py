"""Figures on photographs: detector, embedder, parser and inversion, through the runtime.

A folder holds photographs and ``landmarks.json``: per file five ``points`` in pixels. Files that
share the part of their name before the first underscore, if it is a number, are one person. No
figure names a file, and nothing of a photograph is written.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines
from vera.errors import UsageError
from vera.face.detect import Face, detect
from vera.face.faces import AlignedFace, align_face, detector, embed
from vera.files.photo import read_photo
from vera_export.evaluation.agreement import overlap
from vera_export.evaluation.diversity import correlation, quantiles
from vera_export.evaluation.held_out import point_error
from vera_export.evaluation.inversions import InversionErrors
from vera_export.evaluation.readings import Teachers

Bytes = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

# A detection is the wanted face if its points are off by at most this share of the eyes' distance.
_FOUND_PERCENT = 35.0

# Outlines in the face mesh: lips, image-left eye, image-right eye.
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
)


@dataclass
class Survey:
    """What was seen in a folder, photograph by photograph.

    Attributes:
        people: Who is shown; an own name per photograph where nobody is known to appear twice.
        ours: Embedding by VerA of each photograph, aligned by the given points.
        theirs: The same by the teacher.
        detected: Point error of the detector where it found the face, in percent.
        refined: The same after the second pass.
        false: Detections that are not the wanted face.
        lips: IoU of the parser's mouth with the mesh's lips.
        eyes: IoU of the parser's eyes with the mesh's.
        inversions: Errors of the inverted subset.
    """

    inversions: InversionErrors
    people: list[str] = field(default_factory=list)
    ours: list[npt.NDArray[np.float32]] = field(default_factory=list)
    theirs: list[npt.NDArray[np.float32]] = field(default_factory=list)
    detected: list[float] = field(default_factory=list)
    refined: list[float] = field(default_factory=list)
    false: int = 0
    lips: list[float] = field(default_factory=list)
    eyes: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        """Figures of the folder by network."""
        count = len(self.people)
        return {
            "photographs": count,
            "detector": {
                "recall": len(self.detected) / count,
                "false_detections": self.false,
                "points_percent": _mean(self.detected),
                "points_percent_refined": _mean(self.refined),
            },
            "parser": {"lips_iou": _mean(self.lips), "eyes_iou": _mean(self.eyes)},
            "embedder": likeness(np.stack(self.ours), np.stack(self.theirs), self.people),
            "inversion": self.inversions.figures(),
        }


def survey(
    folder: Path, engines: Engines, teachers: Teachers, errors: InversionErrors, inversions: int
) -> dict[str, object]:
    """Measures a folder of photographs.

    Args:
        folder: Photographs and ``landmarks.json``.
        engines: Of the bundle.
        teachers: The judges.
        errors: Receives the inverted photographs.
        inversions: How many photographs are inverted, evenly spread over the folder.

    Raises:
        UsageError: There is no ``landmarks.json``, or it lists nothing.
    """
    listed = read_landmarks(folder)
    chosen = set(np.linspace(0, len(listed) - 1, min(inversions, len(listed))).round().astype(int))
    seen = Survey(errors)
    for k, (person, image, points) in enumerate(_photographs(folder, listed)):
        seen.people.append(person)
        seen.ours.append(embed(image, points, engines))
        seen.theirs.append(teachers.identity(image, points.astype(np.float32)))
        face = _find(seen, image, points, engines)
        if face is None:
            continue
        _compare_outlines(seen, face, teachers)
        if k in chosen:
            errors.add(face, image.shape[:2], face.labels)
    return seen.figures()


def read_landmarks(folder: Path) -> dict[str, Points]:
    """Five points [5, 2] per file name, in order of the names."""
    path = folder / "landmarks.json"
    if not path.is_file():
        raise UsageError(f"{folder} has no landmarks.json; it gives five points per photograph.")
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not entries:
        raise UsageError(f"landmarks.json in {folder} lists no photograph; add some.")
    return {
        name: np.asarray(entry["points"], np.float64) for name, entry in sorted(entries.items())
    }


def likeness(
    ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], people: list[str]
) -> dict[str, object]:
    """Cosines of VerA's embedder for equal and for different people, beside its teacher's.

    Args:
        ours: Unit vectors [n, 128].
        theirs: Unit vectors [n, 128] of the teacher.
        people: Who is shown, n names.
    """
    first, second = np.triu_indices(len(people), 1)
    names = np.asarray(people)
    same = names[first] == names[second]
    by_judge = {"ours": ours, "teacher": theirs}
    cosines = {k: np.asarray((e @ e.T)[first, second], np.float32) for k, e in by_judge.items()}
    figures: dict[str, object] = {
        "same_pairs": int(same.sum()),
        "different_pairs": int((~same).sum()),
        "pair_correlation": correlation(cosines["ours"], cosines["teacher"]),
    }
    for judge, values in cosines.items():
        entry: dict[str, object] = {}
        if same.any():
            entry["same"] = {
                "smallest": float(values[same].min()),
                "median": float(np.median(values[same])),
            }
        if (~same).any():
            entry["different"] = quantiles(values[~same])
        figures[judge] = entry
    return figures


def outline_iou(labels: Bytes, mesh: npt.NDArray[np.float32]) -> tuple[float, float]:
    """IoU of mouth and eyes in labels [256, 256] with the polygons of a mesh [468, 3]."""
    wanted = [np.zeros(labels.shape, np.uint8) for _ in range(2)]
    for plane, outlines in zip(wanted, ((_LIPS,), _EYES), strict=True):
        for outline in outlines:
            corners = np.rint(mesh[list(outline), :2] * 16).astype(np.int32)
            cv2.fillPoly(plane, [corners], (1,), shift=4)
    mouth, eye = (labels == contract.CLASSES.index(name) for name in ("mouth", "eye"))
    return overlap(mouth, wanted[0] > 0), overlap(eye, wanted[1] > 0)


def _photographs(folder: Path, listed: dict[str, Points]) -> Iterator[tuple[str, Bytes, Points]]:
    for name, points in listed.items():
        start = name.split("_")[0]
        person = start if start.isdigit() else name
        yield person, read_photo(folder / name).image, points


def _find(seen: Survey, image: Bytes, points: Points, engines: Engines) -> AlignedFace | None:
    """The wanted face, if it was detected; counts what the detector said."""
    found = detect(detector(engines), image)
    errors = [point_error(face.points, points) for face in found]
    best = int(np.argmin(errors)) if errors else -1
    hit: Face | None = found[best] if errors and errors[best] <= _FOUND_PERCENT else None
    seen.false += len(found) - (hit is not None)
    if hit is None:
        return None
    face = align_face(image, hit, engines)
    seen.detected.append(errors[best])
    seen.refined.append(point_error(face.points, points))
    return face


def _compare_outlines(seen: Survey, face: AlignedFace, teachers: Teachers) -> None:
    lips, eyes = outline_iou(face.labels, teachers.mesh(face.crop))
    seen.lips.append(lips)
    seen.eyes.append(eyes)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
