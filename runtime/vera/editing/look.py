"""A latent rendered, and what the other engines see in the picture."""

import numpy as np
import numpy.typing as npt

from vera.contract import ATTRIBUTES_SIZE, CROP_SIZE, EXPRESSIONS
from vera.editing.state import Image, Look, Reading
from vera.engines import Engines, Tensor
from vera.face.faces import embed
from vera.pixels.align import to_image, to_tensor
from vera.pixels.labels import probabilities, to_labels


def look_at(latents: Tensor, engines: Engines) -> Look:
    """Renders latents [32, d] and looks at the picture.

    Raises:
        EngineError: An engine failed.
    """
    outputs = engines.run("generator", latent=np.ascontiguousarray(latents[None], np.float32))
    image = to_image(outputs["image"])
    labels = to_labels(probabilities(outputs["segmentation"]))
    attributes = read(image, engines)
    # The picture lies on the template, so that its points are those of the loose crop, enlarged.
    points = (attributes["points"][0].astype(np.float64) + 0.5) * len(image) / ATTRIBUTES_SIZE - 0.5
    return Look(
        image=image,
        labels=labels,
        reading=reading_of(attributes),
        embedding=embed(image, points, engines),
        agreement=float((labels == _parsed(image, engines)).mean()),
    )


def read(image: Image, engines: Engines) -> dict[str, Tensor]:
    """Outputs of the attributes engine for a generated picture [s, s, 3]."""
    return engines.run("attributes", face=to_tensor(_resized(image, ATTRIBUTES_SIZE)))


def reading_of(attributes: dict[str, Tensor]) -> Reading:
    """The first of the attributes engine's outputs, as numbers."""
    yaw, pitch, _ = (float(value) for value in attributes["pose"][0])
    chances = (float(value) for value in attributes["expression"][0])
    return Reading(
        yaw=yaw,
        pitch=pitch,
        expression=dict(zip(EXPRESSIONS, chances, strict=True)),
        mouth_open=float(attributes["mouth_open"][0, 0]),
        age=float(attributes["age"][0, 0]),
    )


def _parsed(image: Image, engines: Engines) -> npt.NDArray[np.uint8]:
    crop = to_tensor(_resized(image, engines.layout.parser))
    return to_labels(probabilities(engines.run("parser", crop=crop)["logits"], CROP_SIZE))


def _resized(image: Image, side: int) -> Image:
    import cv2

    if len(image) == side:
        return image
    method = cv2.INTER_AREA if len(image) > side else cv2.INTER_CUBIC
    resized: Image = cv2.resize(image, (side, side), interpolation=method)  # type: ignore[assignment]
    return resized
