"""The faces of one photograph: found, aligned in two passes, parsed and described."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines, Tensor
from vera.errors import EngineError, RefusedError
from vera.face.detect import Face, Run, detect
from vera.face.hiding import paint_over
from vera.pixels import align
from vera.pixels.align import Box, Matrix
from vera.pixels.labels import probabilities, to_labels

Image = npt.NDArray[np.uint8]

# Below this the gate cannot tell two people apart, and nothing clinical is to be seen either.
SMALLEST_FACE_PX = 40

# Refined points further than this share of the eye distance from the detector's are another face's.
_LARGEST_SHIFT = 0.35

_SKIN = contract.CLASSES.index("skin")

# A detection the detector itself doubts is a face only if the parser sees at least two of these
# parts in it, each on this share of the crop (smallest in 100 portraits' faces: 0.004; in folds of
# cloth: 0).
_FEATURES = tuple(contract.CLASSES.index(name) for name in ("eye", "brow", "mouth", "nose"))
_FEATURE_SHARE = 0.003
_DOUBTED_SCORE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFace:
    """A face and everything known about it.

    Attributes:
        found: The detector's face.
        points: float64 [5, 2] final points, photo pixels.
        matrix: Photo pixels to pixels of the 256 px crop.
        box: The photo pixels that the crop covers.
        crop: uint8 [256, 256, 3].
        picture: uint8 [s, s, 3], the same square at the generator's size, for the inversion.
        shares: float32 [13, 256, 256] class probabilities.
        labels: uint8 [256, 256].
        embedding: float32 [e], unit length.
        skin: float32 [3] mean CIE Lab of the skin.
        female: Score in [0, 1].
        age: Years.
        yaw: Degrees.
    """

    found: Face
    points: npt.NDArray[np.float64]
    matrix: Matrix
    box: Box
    crop: Image
    picture: Image
    shares: Tensor
    labels: npt.NDArray[np.uint8]
    embedding: Tensor
    skin: Tensor
    female: float
    age: float
    yaw: float

    @property
    def confirmed(self) -> bool:
        """Whether this is a face: the detector is sure, or the parser sees parts of one."""
        shares = np.bincount(self.labels.ravel(), minlength=contract.CLASS_COUNT) / self.labels.size
        seen = int((shares[list(_FEATURES)] >= _FEATURE_SHARE).sum())
        return self.found.score >= _DOUBTED_SCORE or seen >= 2

    @property
    def eye_distance_px(self) -> float:
        """Distance of the eye centres in photo pixels."""
        return float(np.linalg.norm(self.points[1] - self.points[0]))


def detector(engines: Engines) -> Run:
    """The detector engine as the detection wants it."""

    def run(photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = engines.run("detector", photo=photo)
        return outputs["scores"], outputs["boxes"], outputs["points"]

    return run


def find_faces(image: Image, engines: Engines) -> tuple[list[AlignedFace], int]:
    """Faces of a photograph, aligned and described, the largest first.

    Returns:
        The faces, at least one, and how many detections were dropped because detector and parser
        both doubt them.

    Raises:
        RefusedError: ``no-face``, or ``face-too-small`` if the largest one is.
    """
    found = detect(detector(engines), image)
    aligned = [align_face(image, face, engines) for face in found]
    faces = [face for face in aligned if face.confirmed]
    if not faces:
        raise RefusedError(
            "no-face",
            "No face was found; turn the photograph upright or take one that shows the whole face.",
        )
    side = faces[0].found.side_px
    if side < SMALLEST_FACE_PX:
        raise RefusedError(
            "face-too-small",
            f"The largest face is {side:.0f} px high, at least {SMALLEST_FACE_PX} px are needed; "
            "use "
            "the photograph at its original size.",
        )
    return faces, len(aligned) - len(faces)


def align_face(image: Image, found: Face, engines: Engines) -> AlignedFace:
    """Aligns a face in two passes (detector, then points of a loose crop) and describes it."""
    points, attributes = _refine(image, found, engines)
    matrix = align.crop_matrix(points)
    crop = align.warp_to_crop(image, matrix, contract.CROP_SIZE)
    seen = _at_size(image, points, crop, engines.layout.parser)
    logits = engines.run("parser", crop=align.to_tensor(seen))["logits"]
    shares = probabilities(logits)
    labels = to_labels(shares)
    return AlignedFace(
        found=found,
        points=points,
        matrix=matrix,
        box=align.photo_box(matrix, contract.CROP_SIZE, image.shape),
        crop=crop,
        picture=_at_size(image, points, crop, engines.layout.image),
        shares=shares,
        labels=labels,
        embedding=embed(image, points, engines),
        skin=skin_colour(crop, labels),
        female=float(attributes["female"][0, 0]),
        age=float(attributes["age"][0, 0]),
        yaw=float(attributes["pose"][0, 0]),
    )


def _at_size(image: Image, points: npt.NDArray[np.float64], crop: Image, size: int) -> Image:
    """The square of ``crop`` at another size, taken from the photograph again."""
    if size == contract.CROP_SIZE:
        return crop
    return align.warp_to_crop(image, align.crop_matrix(points, size=size), size)


def embed(
    image: Image,
    points: npt.NDArray[np.float64],
    engines: Engines,
    hidden: npt.NDArray[np.bool_] | None = None,
) -> Tensor:
    """Identity embedding [e], unit length, of the face with these points.

    Args:
        image: uint8 [h, w, 3].
        points: float64 [5, 2] x y.
        engines: Runs the embedder.
        hidden: bool [h, w], pixels that are painted over with the mean colour of the others.
    """
    matrix = align.crop_matrix(points, align.ARCFACE)
    crop = align.warp_to_crop(image, matrix, contract.EMBEDDER_SIZE)
    if hidden is not None:
        crop = paint_over(crop, hidden, matrix)
    face = align.to_tensor(crop)
    embedding = engines.run("embedder", face=face)["embedding"][0]
    if float(np.linalg.norm(embedding)) < 1e-6:
        raise EngineError("The embedder gave an empty embedding; run vera check.")
    return np.asarray(embedding / max(float(np.linalg.norm(embedding)), 1e-6), np.float32)


def skin_colour(crop: Image, labels: npt.NDArray[np.uint8]) -> Tensor:
    """Mean CIE Lab [3] of the skin, or of the middle of the crop if there is none."""
    import cv2

    lab = cv2.cvtColor(crop.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    skin = lab[labels == _SKIN]
    if not len(skin):
        middle = len(crop) // 4
        skin = lab[middle:-middle, middle:-middle].reshape(-1, 3)
    return np.asarray(skin.mean(0), np.float32)


def _refine(
    image: Image, found: Face, engines: Engines
) -> tuple[npt.NDArray[np.float64], dict[str, Tensor]]:
    """Second pass: the five points of a loose crop, unless they contradict the detector."""
    size = contract.ATTRIBUTES_SIZE
    matrix = align.crop_matrix(found.points, size=size)
    face = align.to_tensor(align.warp_to_crop(image, matrix, size))
    attributes = engines.run("attributes", face=face)
    refined = attributes["points"][0].astype(np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    points = (refined - matrix[:, 2]) @ inverse.T
    reach = _LARGEST_SHIFT * float(np.linalg.norm(align.FFHQ.points[1] - align.FFHQ.points[0]))
    shift = np.linalg.norm((points - found.points) @ matrix[:, :2].T, axis=1)
    if shift.max() > reach * size / contract.CROP_SIZE:
        return found.points, attributes
    return points, attributes
