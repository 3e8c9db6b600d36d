"""What the guide is shown: the generated face as it will lie in the photograph, and its gradient.

The gate judges the finished photograph, so moving an identity by the bare picture of the generator
would miss what hair, kept regions and the fitted tone do to likeness. Fitting has no gradient; what
it added to the last fitted picture is taken as constant until the picture is fitted again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines, Tensor
from vera.pixels.align import mask_to_crop, to_tensor
from vera.region.subject import Subject
from vera.rendering.render import Rendered, render

# Readings that follow the new person if the setting of this name is not preserved.
_FREED = {"expression": ("expression", "mouth_open"), "age": ("age",)}


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """What the guide says of one picture.

    Attributes:
        cosine: Of the embeddings of picture and original.
        attributes: Loss of the attributes.
        grad_cosine: float32 [1, 3, s, s], for the generator's picture.
        grad_attributes: The same of ``attributes``.
    """

    cosine: float
    attributes: float
    grad_cosine: Tensor
    grad_attributes: Tensor


class View:
    """One photograph of a case as the guide sees it.

    Attributes:
        wanted: Embedding and attributes of the original, as the guide's inputs.
    """

    wanted: dict[str, Tensor]

    def __init__(self, subject: Subject, engines: Engines) -> None:
        """Reads the original's attributes; nothing is shown before :meth:`fit`."""
        face, self._size = subject.face, engines.layout.image
        self._subject, self._engines = subject, engines
        self._photo = to_tensor(face.picture)
        kept = face.box.cut(subject.kept)
        self._kept = mask_to_crop(kept, face.matrix, face.box, contract.CROP_SIZE)
        self._added = np.zeros_like(self._photo)
        self._taken = np.zeros((1, 1, self._size, self._size), np.float32)
        attributes = read_attributes(to_tensor(face.crop), engines)
        self.wanted = {"embedding": face.embedding[None], **attributes}

    def fit(self, latent: Tensor, picture: Tensor) -> None:
        """Fits the face of ``latent`` [1, 32, d], rendered as ``picture``, into the photograph."""
        rendered = render(latent, [self._subject], self._engines)[0]
        self._added = self._scaled(_planes(rendered)) - picture
        taken = np.where(self._kept, np.float32(0), rendered.mask)
        self._taken = self._scaled(taken[None, None])

    def free(self, names: Collection[str]) -> None:
        """Takes the attributes of the face now fitted for wanted, out of ``_FREED`` by name."""
        rendered = self._photo + self._taken * (self._added - self._photo)
        now = read_attributes(rendered, self._engines)
        freed = [reading for name in names for reading in _FREED.get(name, ())]
        self.wanted |= {reading: now[reading] for reading in freed}

    def guidance(self, picture: Tensor) -> Guidance:
        """What the guide says of the generator's ``picture`` [1, 3, s, s] in its place."""
        shown = self._photo + self._taken * (picture + self._added - self._photo)
        told = self._engines.run("guide", image=shown, **self.wanted)
        return Guidance(
            float(told["cosine"][0]),
            float(told["attribute_loss"][0]),
            self._taken * told["grad_cosine"],
            self._taken * told["grad_attributes"],
        )

    def _scaled(self, planes: Tensor) -> Tensor:
        """Planes [1, c, 256, 256] at the generator's size."""
        if planes.shape[-1] == self._size:
            return planes
        import cv2

        side = (self._size, self._size)
        mode = cv2.INTER_LINEAR if self._size > contract.CROP_SIZE else cv2.INTER_AREA
        resized = [cv2.resize(plane, side, interpolation=mode) for plane in planes[0]]
        return np.asarray(resized, np.float32)[None]


def read_attributes(picture: Tensor, engines: Engines) -> Mapping[str, Tensor]:
    """The guided attributes of a picture [1, 3, s, s], pooled as in the guide; s is 128 or more."""
    size = contract.ATTRIBUTES_SIZE
    step = picture.shape[-1] // size
    face = picture.reshape(1, 3, size, step, size, step).mean((3, 5), dtype=np.float32)
    told = engines.run("attributes", face=face)
    return {name: told[name] for name in contract.GUIDED}


def _planes(rendered: Rendered) -> npt.NDArray[np.float32]:
    """The fitted crop as a tensor, not rounded to grey levels."""
    return np.ascontiguousarray(rendered.crop.transpose(2, 0, 1)[None] / 127.5 - 1, np.float32)
