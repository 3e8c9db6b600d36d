"""Synthetic scenes for the detector: labelled face crops pasted onto face-free backgrounds.

Every scene is drawn when it is needed; nothing repeats, and no photograph of a real person is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.errors import UsageError
from vera_export.training.backgrounds import Backgrounds
from vera_export.training.corruptions import corrupt
from vera_export.training.dataset import Faces
from vera_export.training.pasting import (
    Crop,
    mean_in_box,
    occlude,
    overlap,
    shoulders,
    warp_onto,
    whole_mask,
    without_face,
)

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]

_LABEL_BACKGROUND = 0
_FLIP = (1, 0, 2, 4, 3)  # five points after mirroring
_MOST_FACES = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """One training image and its faces.

    Attributes:
        image: uint8 [h, w, 3] RGB.
        boxes: float32 [m, 4] x1 y1 x2 y2 of the face mesh, in pixels.
        points: float32 [m, 5, 2].
        counted: bool [m]; a False face is too hidden to be asked for, but finding it is no error.
    """

    image: Image
    boxes: Array
    points: Array
    counted: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Face:
    box: Array
    points: Array
    hidden: list[float]


def read_mesh(data: Path) -> Array:
    """Face-mesh points [n, 468, 2] of a training folder, in pixels of its images.

    Raises:
        UsageError: ``landmarks.npz`` has no array ``facemesh``.
    """
    with np.load(data / "landmarks.npz") as landmarks:
        if "facemesh" not in landmarks:
            raise UsageError(
                "landmarks.npz in the data folder has no array facemesh, from which the detector "
                "learns its boxes; add face-mesh points [n, 468, 2]."
            )
        return np.asarray(landmarks["facemesh"], np.float32)


class Crops(Sequence[Crop]):
    """Some rows of a training folder, face by face."""

    def __init__(self, faces: Faces, mesh: Array, rows: npt.NDArray[np.int64]) -> None:
        """``faces`` must hold labels; ``mesh`` [n, 468, 2] has a row for each of its faces."""
        self._faces, self._mesh, self._rows = faces, mesh, rows

    def __len__(self) -> int:
        """Number of faces."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Crop:  # type: ignore[override]
        """One face; nothing is copied."""
        row = int(self._rows[index])
        faces = self._faces
        return Crop(faces.images[row], faces.labels[row], self._mesh[row], faces.five[row])


class SceneMaker:
    """Draws scenes of one size from a fixed set of crops.

    Args:
        crops: Faces to paste.
        size: Side of the square scenes in pixels.
        seed: Start of the random sequence.
    """

    def __init__(self, crops: Sequence[Crop], size: int, seed: int) -> None:
        """Nothing is drawn yet."""
        self._crops = crops
        self._size = size
        self._random = np.random.default_rng(seed)
        self._backgrounds = Backgrounds(size, self._random)

    def draw(self) -> Scene:
        """The next scene."""
        rng = self._random
        canvas = self._background()
        faces: list[_Face] = []
        for side in self._sides():
            self._paste(canvas, faces, float(side))
        if rng.random() < 0.4:
            self._decoy(canvas, faces)
        kept = [f for f in faces if min(f.hidden[0], 1.0) < 0.8]
        counted = np.array([f.hidden[0] < 0.45 for f in kept], np.bool_)
        boxes = np.stack([f.box for f in kept]) if kept else np.zeros((0, 4), np.float32)
        points = np.stack([f.points for f in kept]) if kept else np.zeros((0, 5, 2), np.float32)
        return Scene(corrupt(canvas, rng), boxes, points, counted)

    def _sides(self) -> npt.NDArray[np.float64]:
        # Longer side of each face box, small first: whoever is nearer covers who is behind.
        rng = self._random
        draw = rng.random()
        largest = 0.8 * self._size
        if draw < 0.1:
            return np.zeros(0)
        if draw < 0.65:
            return np.exp(rng.uniform(np.log(14), np.log(largest), 1))
        if draw < 0.85:
            return np.sort(np.exp(rng.uniform(np.log(14), np.log(0.4 * self._size), 2)))
        count = int(rng.integers(3, _MOST_FACES + 1))
        return np.sort(np.exp(rng.uniform(np.log(14), np.log(0.22 * self._size), count)))

    def _background(self) -> Image:
        rng = self._random
        if rng.random() < 0.25:
            crop = self._crops[int(rng.integers(len(self._crops)))]
            return self._backgrounds.from_crop(crop.image, crop.labels)
        return self._backgrounds.draw()

    def _paste(self, canvas: Image, faces: list[_Face], side: float) -> None:
        rng = self._random
        crop = self._crops[int(rng.integers(len(self._crops)))]
        placed = self._place(crop, side)
        if placed is None:
            return
        matrix, box, five = placed
        if any(overlap(box, other.box) > 0.3 for other in faces):
            return
        whole = rng.random() < 0.3
        dressed = not whole and rng.random() < 0.5
        covered = np.zeros(canvas.shape[:2], np.float32)
        if dressed:
            covered = shoulders(canvas, matrix, rng)
        alpha = whole_mask(rng) if whole else _person(crop)
        person = warp_onto(canvas, crop.image, alpha, matrix, around=whole, below=not dressed)
        _hide(faces, np.maximum(covered, person))
        outside = 1.0 - overlap(box, np.array([0, 0, *canvas.shape[1::-1]], np.float32))
        hidden = outside + (occlude(canvas, box, rng) if rng.random() < 0.15 else 0.0)
        faces.append(_Face(box, five, [hidden]))

    def _place(
        self, crop: Crop, side: float
    ) -> tuple[npt.NDArray[np.float64], Array, Array] | None:
        """Crop-to-scene matrix that gives a face its side, angle and place; its box and points."""
        rng = self._random
        angle = np.deg2rad(np.clip(rng.normal(0, 12), -45, 45))
        if rng.random() < 0.3:
            angle = np.deg2rad(rng.uniform(-50, 50))
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        stretch = rng.uniform(0.92, 1.08)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn = turn @ np.diag([mirror * stretch, 1.0])
        mesh = crop.mesh @ turn.T
        turn *= side / float(np.ptp(mesh, 0).max())
        mesh = crop.mesh @ turn.T
        low, high = mesh.min(0), mesh.max(0)
        reach = (high - low) * rng.choice([0.5, 0.5, 0.5, 0.15])  # now and then cut by the frame
        if (2 * reach >= self._size).any():
            return None
        shift = rng.uniform(reach, self._size - reach) - (low + high) / 2
        five = crop.five @ turn.T + shift
        if mirror < 0:
            five = five[list(_FLIP)]
        matrix = np.hstack((turn, shift[:, None]))
        box = np.concatenate((low, high)) + np.tile(shift, 2)
        return matrix, box.astype(np.float32), five.astype(np.float32)

    def _decoy(self, canvas: Image, faces: list[_Face]) -> None:
        """Paste a person without a face: skin and hair alone must not be enough."""
        rng = self._random
        crop = self._crops[int(rng.integers(len(self._crops)))]
        placed = self._place(crop, float(np.exp(rng.uniform(np.log(14), np.log(120)))))
        if placed is None:
            return
        matrix, box, _ = placed
        if any(overlap(other.box, box) > 0.02 for other in faces):
            return
        image = without_face(crop, rng)
        _hide(faces, warp_onto(canvas, image, _person(crop), matrix, around=False, below=True))


def _person(crop: Crop) -> Image:
    return np.where(crop.labels == _LABEL_BACKGROUND, 0, 255).astype(np.uint8)


def _hide(faces: list[_Face], covered: Array) -> None:
    for face in faces:
        face.hidden[0] += mean_in_box(covered, face.box)
