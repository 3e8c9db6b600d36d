"""A photograph as it was: its patient's face and the regions that rows keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vera.engines import Engines
from vera.errors import PhotoError, RefusedError
from vera.face.faces import AlignedFace, find_faces
from vera.files.photo import read_photo
from vera.region.regions import kept_mask
from vera.request.keep import Keep
from vera.request.keep_margin import Margin

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A photograph and the face of its patient.

    Attributes:
        image: uint8 [h, w, 3].
        face: The largest face.
        faces: All of them, the largest first.
        regions: By the name of a kept region bool [h, w], True inside. A region that is not seen is
            missing.
    """

    image: Image
    face: AlignedFace
    faces: tuple[AlignedFace, ...]
    regions: Mapping[str, Mask] = field(default_factory=dict)


def open_original(
    path: Path, regions: Sequence[str], engines: Engines, *, margin: str | None = None
) -> Original | None:
    """Reads a photograph and finds its faces and regions.

    Args:
        path: The photograph.
        regions: Names as in ``Keep.name``.
        engines: Runs the engines of the faces.
        margin: Of the regions, as in ``keep_margin``; None is the built-in one.

    Returns:
        None where nothing can be measured: the photograph cannot be read, or shows no face.
    """
    try:
        image = read_photo(path).image
        faces, _ = find_faces(image, engines)
    except (PhotoError, RefusedError):
        return None
    found = {}
    for name in regions:
        mask = _region(faces[0], name, image.shape, margin)
        if mask is not None:
            found[name] = mask
    return Original(image, faces[0], tuple(faces), found)


def _region(
    face: AlignedFace, name: str, shape: tuple[int, ...], margin: str | None
) -> Mask | None:
    width = None if margin is None else Margin.parse(margin).pixels(face.eye_distance_px)
    try:
        part = kept_mask(face.shares, Keep.parse(name), face.matrix, face.box, width)
    except RefusedError:
        return None
    return face.box.embed(part, shape)
