"""What the teachers say about aligned crops: face mesh, identity, expression, pose and age.

The networks and their crops are described in the teachers' own folder. They judge the product here;
no figure of theirs is a privacy result, because our networks learnt from them.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.pixels.align import ARCFACE, crop_matrix, warp_to_crop
from vera_export.training.teacher_graph import RECOGNISER
from vera_export.training.teachers import Labeller

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_MESH_SIDE, _EMOTION_SIDE, _AGE_SIDE = 192, 64, 198
_MESH_GROWTH, _EMOTION_GROWTH, _AGE_GROWTH = 1.5, 1.1, 1.2
_FIRST_SQUARE = (130.0, 150.0, 246.0)  # x, y, side: the mean mesh of aligned crops, grown
_AGES = np.array([15, 23, 28, 35.5, 45.5, 55.5, 65], np.float32)  # middles of the age groups

LEFT_EYE, RIGHT_EYE = (33, 133, 159, 145), (362, 263, 386, 374)
NOSE, LEFT_CORNER, RIGHT_CORNER = 4, 61, 291


@dataclass(frozen=True, eq=False)
class Readings:
    """One row per image.

    Attributes:
        mesh: float32 [n, 468, 3], pixels of the crop, centres at integers.
        identity: float32 [n, 128], unit length.
        emotion: float32 [n, 7], probabilities.
        mouth: float32 [n, 1], inner lip gap over mouth width.
        pose: float32 [n, 3], yaw, pitch, roll in degrees, from the mesh.
        age: float32 [n, 1], years.
    """

    mesh: Float
    identity: Float
    emotion: Float
    mouth: Float
    pose: Float
    age: Float

    @property
    def five(self) -> Float:
        """The five points [n, 5, 2] of the alignment templates."""
        return five_points(self.mesh)

    def rows(self, count: int) -> "Readings":
        """The first ``count`` images."""
        return Readings(*(getattr(self, field.name)[:count] for field in fields(self)))


class Teachers:
    """The teachers that judge crops; one image at a time, one thread."""

    def __init__(self, folder: Path) -> None:
        """Opens the networks of ``folder``; a UsageError names one that is missing."""
        self._mesh = Labeller(folder / "facemesh468.onnx")
        self._identity = Labeller(folder / f"{RECOGNISER}.onnx")
        self._emotion = Labeller(folder / "emotion7.onnx")
        self._age = Labeller(folder / "gear_age_gender.onnx")

    def read(self, images: Bytes) -> Readings:
        """Judges crops uint8 [n, 256, 256, 3]."""
        meshes = np.stack([self.mesh(image) for image in images])
        emotion, age = [], []
        for image, mesh in zip(images, meshes, strict=True):
            face = _square(image, *_around(mesh, _EMOTION_GROWTH), _EMOTION_SIDE)
            grey = face @ np.array([0.299, 0.587, 0.114], np.float32)
            emotion.append(self._emotion(grey[None, None] / np.float32(127.5) - 1)[0][0])
            face = _square(image, *_around(mesh, _AGE_GROWTH), _AGE_SIDE)
            age.append(self._age(face.transpose(2, 0, 1)[None] / np.float32(255))[0] @ _AGES)
        five = five_points(meshes)
        identity = [self.identity(*pair) for pair in zip(images, five, strict=True)]
        return Readings(
            mesh=meshes,
            identity=np.stack(identity),
            emotion=np.stack(emotion),
            mouth=mouth_opening(meshes),
            pose=head_pose(meshes),
            age=np.stack(age),
        )

    def mesh(self, image: Bytes) -> Float:
        """Face mesh [468, 3] of an aligned crop, in its pixels: a fixed square, then the face's."""
        first = self._mesh_in(image, *_FIRST_SQUARE)
        return self._mesh_in(image, *_around(first, _MESH_GROWTH))

    def identity(self, image: Bytes, points: Float) -> Float:
        """Embedding [128] of unit length of the face with five ``points`` in any image."""
        matrix = crop_matrix(np.asarray(points, np.float64), ARCFACE)
        face = warp_to_crop(image, matrix, ARCFACE.size).transpose(2, 0, 1)[None]
        found = self._identity(np.ascontiguousarray(face, np.float32))[0][0]
        unit: Float = found / max(float(np.linalg.norm(found)), 1e-9)
        return unit

    def _mesh_in(self, image: Bytes, x: float, y: float, side: float) -> Float:
        face = _square(image, x, y, side, _MESH_SIDE).transpose(2, 0, 1)[None] / np.float32(255)
        mesh = self._mesh(np.ascontiguousarray(face))[0].reshape(468, 3)
        scale = side / _MESH_SIDE
        corner = np.array([x - side / 2, y - side / 2, 0], np.float32)
        return np.asarray(mesh * np.float32(scale) + corner, np.float32)


def five_points(mesh: Float) -> Float:
    """Five points [n, 5, 2] of meshes [n, 468, 3]: eyes, nose tip, corners of the mouth."""
    flat = mesh[..., :2]
    eyes = [flat[:, list(eye)].mean(1) for eye in (LEFT_EYE, RIGHT_EYE)]
    single = [flat[:, i] for i in (NOSE, LEFT_CORNER, RIGHT_CORNER)]
    return np.stack([*eyes, *single], 1)


def mouth_opening(mesh: Float) -> Float:
    """Inner lip gap over mouth width [n, 1]."""
    flat = mesh[..., :2]
    gap = np.linalg.norm(flat[:, 13] - flat[:, 14], axis=1)
    width = np.linalg.norm(flat[:, LEFT_CORNER] - flat[:, RIGHT_CORNER], axis=1)
    return np.asarray(gap / np.maximum(width, 1e-6), np.float32)[:, None]


def head_pose(mesh: Float) -> Float:
    """Yaw, pitch and roll [n, 3] in degrees from the depth of the mesh, without a zero point."""
    pairs = ((234, 454), (33, 263), (LEFT_CORNER, RIGHT_CORNER))
    across = np.mean([mesh[:, b] - mesh[:, a] for a, b in pairs], axis=0)
    down = mesh[:, 152] - mesh[:, 10]
    yaw = np.arctan2(across[:, 2], np.linalg.norm(across[:, :2], axis=1))
    pitch = np.arctan2(down[:, 2], np.linalg.norm(down[:, :2], axis=1))
    roll = np.arctan2(across[:, 1], across[:, 0])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], 1)), np.float32)


def _around(mesh: Float, growth: float) -> tuple[float, float, float]:
    """Centre and side of the square around a mesh, grown."""
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    x, y = (low + high) / 2
    return float(x), float(y), float(growth * max(*(high - low), 1.0))


def _square(image: Bytes, x: float, y: float, side: float, size: int) -> Float:
    """The square around (x, y) at ``size`` px, float32 [size, size, 3] in 0..255."""
    scale = size / side
    shift = (size - 1) / 2 - scale * np.array([x, y])
    matrix = np.hstack([np.eye(2) * scale, shift[:, None]])
    return warp_to_crop(image, matrix, size).astype(np.float32)
