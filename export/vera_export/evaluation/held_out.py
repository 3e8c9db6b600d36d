"""Figures of parser, attributes, embedder and inversion on the held-out training-domain faces."""

import cv2
import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines
from vera.face.detect import Face
from vera.face.faces import AlignedFace, align_face, embed
from vera.pixels.align import FFHQ, Matrix, crop_matrix, to_tensor, warp_to_crop
from vera_export.evaluation.agreement import Agreement
from vera_export.evaluation.diversity import correlation
from vera_export.evaluation.inversions import InversionErrors
from vera_export.training.dataset import Faces

Rows = npt.NDArray[np.int64]
Points = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]


def parser_figures(faces: Faces, rows: Rows, engines: Engines) -> dict[str, float]:
    """IoU of the parser's labels with the data's: ``mean``, then by class."""
    agreement = Agreement()
    for row in rows:
        logits = engines.run("parser", crop=to_tensor(faces.images[row]))["logits"]
        agreement.add(logits[0].argmax(0), faces.labels[row])
    return {"faces": len(rows), **agreement.figures()}


def attribute_figures(faces: Faces, rows: Rows, engines: Engines) -> dict[str, float]:
    """Mean absolute errors of the attribute network on aligned crops, against the data's columns.

    Points in percent of the distance between the eyes; ``expression_agrees`` is the share of faces
    whose likeliest expression is the data's.
    """
    size, columns = contract.ATTRIBUTES_SIZE, faces.columns
    wanted = np.stack([columns[f"p_{name}"] for name in contract.EXPRESSIONS], 1).argmax(1)
    errors: dict[str, list[float]] = {}
    for row in rows:
        points = faces.five[row].astype(np.float64)
        matrix = crop_matrix(points, FFHQ, size)
        face = to_tensor(warp_to_crop(faces.images[row], matrix, size))
        found = engines.run("attributes", face=face)
        back = _back(found["points"][0].astype(np.float64), matrix)
        roll = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))  # turning adds to it
        values = {
            "points_percent": point_error(back, points),
            "yaw_deg": abs(float(found["pose"][0, 0] - columns["yaw"][row])),
            "pitch_deg": abs(float(found["pose"][0, 1] - columns["pitch"][row])),
            "roll_deg": abs(float(found["pose"][0, 2] - columns["roll"][row]) - roll),
            "mouth_open": abs(float(found["mouth_open"][0, 0] - columns["mouth_open"][row])),
            "age_years": abs(float(found["age"][0, 0] - columns["age"][row])),
            "expression_agrees": float(found["expression"][0].argmax() == wanted[row]),
        }
        for name, value in values.items():
            errors.setdefault(name, []).append(value)
    return {"faces": len(rows)} | {k: float(np.mean(v)) for k, v in errors.items()}


def embedder_figures(
    faces: Faces, embedding: npt.NDArray[np.float32], rows: Rows, engines: Engines
) -> dict[str, float | None]:
    """Agreement with the teacher's embeddings [n, 128] of the data folder.

    Returns:
        ``cosine``, mean over faces of the cosine to the teacher's vector; ``pair_correlation``,
        of the cosines of all pairs of people.
    """
    ours = np.stack(
        [embed(faces.images[row], faces.five[row].astype(np.float64), engines) for row in rows]
    )
    theirs = embedding[rows]
    upper = np.triu_indices(len(rows), 1)
    return {
        "faces": len(rows),
        "cosine": float((ours * theirs).sum(1).mean()),
        "pair_correlation": correlation((ours @ ours.T)[upper], (theirs @ theirs.T)[upper]),
    }


def inversion_figures(
    faces: Faces, rows: Rows, engines: Engines, errors: InversionErrors
) -> dict[str, object] | None:
    """Inversion error of these faces, each taken as a photograph of its own."""
    for row in rows:
        image, points = faces.images[row], faces.five[row].astype(np.float64)
        face = align_face(image, face_with(points), engines)
        labels = warp_labels(faces.labels[row], face)
        errors.add(face, image.shape[:2], labels)
    return errors.figures()


def face_with(points: Points) -> Face:
    """What a detector would have said of a face with these five points."""
    matrix = crop_matrix(points)
    corners = _back(np.array([(58.0, 60.0), (198.0, 232.0)]), matrix)
    return Face(np.sort(corners, axis=0).ravel(), points, 1.0)


def warp_labels(labels: Labels, face: AlignedFace) -> Labels:
    """The labels of a photograph [h, w] in the crop of ``face``, uint8 [256, 256]."""
    size = (contract.CROP_SIZE, contract.CROP_SIZE)
    border = cv2.BORDER_REPLICATE
    warped = cv2.warpAffine(labels, face.matrix, size, flags=cv2.INTER_NEAREST, borderMode=border)
    return warped.astype(np.uint8, copy=False)


def point_error(found: Points, wanted: Points) -> float:
    """Mean distance of five points to the wanted ones, in percent of the eyes' distance."""
    eyes = max(float(np.linalg.norm(wanted[1] - wanted[0])), 1e-6)
    return float(np.linalg.norm(found - wanted, axis=1).mean()) / eyes * 100


def _back(points: Points, matrix: Matrix) -> Points:
    """Points of a crop in the photograph."""
    result: Points = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    return result
