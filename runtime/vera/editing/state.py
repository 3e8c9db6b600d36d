"""What is edited, how it looks, and what an edit came to."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vera.engines import Tensor
from vera.region.subject import Subject

Image = npt.NDArray[np.uint8]
Origin = Literal["photo", "file", "draw"]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face that can be edited.

    Attributes:
        latents: float32 [32, d].
        origin: Where it comes from.
        personal: Whether a photograph of a real person is behind it: then every picture of it shows
            that person, and its latents are that person's data.
        embedding: float32 [e] of the photograph's face, unit length; None without a photograph.
        subject: The face in its photograph; None without one.
    """

    latents: Tensor
    origin: Origin
    personal: bool
    embedding: Tensor | None = None
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the attributes engine sees in a picture.

    Attributes:
        yaw: Degrees.
        pitch: Degrees.
        expression: Probabilities by name, in the contract's order.
        mouth_open: Inner lip gap over mouth width.
        age: Years.
    """

    yaw: float
    pitch: float
    expression: dict[str, float]
    mouth_open: float
    age: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A generated picture and what is seen in it.

    Attributes:
        image: uint8 [s, s, 3].
        labels: uint8 [256, 256], the generator's own part map.
        reading: By the attributes engine.
        embedding: float32 [e], unit length.
        agreement: Share of the pixels in which the parser sees the part that the generator meant; a
            picture that falls apart has a low one.
    """

    image: Image
    labels: npt.NDArray[np.uint8]
    reading: Reading
    embedding: Tensor
    agreement: float


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of an aim, in the aim's unit; for an expression its probability.

    Attributes:
        before: Measured before the edit.
        wanted: The value that was asked for.
        after: Measured after it.
        whole: Whether ``after`` is ``wanted``, within the tolerance of the search.
        stopped: Why the search went no further, as words; None if it did not have to.
    """

    before: float
    wanted: float
    after: float
    whole: bool
    stopped: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A face after an edit; the first step is the face before all of them.

    Attributes:
        label: The edit, without names of files.
        latents: float32 [32, d].
        look: The picture and what is seen in it.
        cosine_to_start: Of the embeddings of this picture and the first one.
        cosine_to_photo: To the photograph's face; None without a photograph.
        personal: See :class:`Face`; a part of a photographed person makes it so.
        reached: Of an aim; None of other edits.
    """

    label: str
    latents: Tensor
    look: Look
    cosine_to_start: float
    cosine_to_photo: float | None
    personal: bool
    reached: Reached | None = None
