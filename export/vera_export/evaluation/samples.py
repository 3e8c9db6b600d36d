"""Generated people as the product draws them, and single codes exchanged between them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Identities
from vera.engines import Engines, Tensor
from vera.face.appearance import Appearance
from vera.face.faces import embed, skin_colour
from vera.identity.redraw import draw_identity, redraw
from vera.pixels.align import to_image, to_tensor
from vera_export.training.dataset import Faces

Bytes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Generated people.

    Attributes:
        latents: float32 [n, 32, 64].
        images: uint8 [n, 256, 256, 3].
        labels: uint8 [n, 128, 128], the generator's own part map.
    """

    latents: Tensor
    images: Bytes
    labels: Bytes


def encode(faces: Faces, rows: Rows, engines: Engines) -> Tensor:
    """The encoder's latents [n, 32, 64] of training-domain faces, with their labels."""
    planes = np.arange(contract.CLASS_COUNT, dtype=np.uint8)[:, None, None]
    return np.concatenate(
        [
            engines.run(
                "encoder",
                crop=to_tensor(faces.images[row]),
                labels=(faces.labels[row, ::2, ::2][None, None] == planes).astype(np.float32),
            )["latent"]
            for row in rows
        ]
    )


def render(latents: Tensor, engines: Engines) -> Samples:
    """Images and part maps of latents [n, 32, 64], one by one."""
    images, labels = [], []
    for latent in latents:
        outputs = engines.run("generator", latent=latent[None])
        images.append(to_image(outputs["image"]))
        labels.append(outputs["segmentation"][0].argmax(0).astype(np.uint8))
    return Samples(latents, np.stack(images), np.stack(labels))


def new_people(
    faces: Faces, rows: Rows, latents: Tensor, bank: Identities, engines: Engines, seed: int
) -> Tensor:
    """Latents [n, 32, 64] of the encoded faces with a new identity each, as the runtime draws it.

    Args:
        faces: The training domain.
        rows: Faces whose head, pose, expression and setting are taken.
        latents: Their codes [n, 32, 64].
        bank: The synthetic people.
        engines: Runs ``embedder``.
        seed: Of the draws.
    """
    drawn = []
    for k, (row, latent) in enumerate(zip(rows, latents, strict=True)):
        image = faces.images[row]
        wanted = Appearance(
            skin=skin_colour(image, faces.labels[row]),
            female=float(faces.columns["female"][row]),
            age=float(faces.columns["age"][row]),
            yaw=float(faces.columns["yaw"][row]),
            expression=latent[contract.high_level_row("expression")],
            embedding=embed(image, faces.five[row].astype(np.float64), engines),
        )
        identity = draw_identity(bank, wanted, (seed, k), 0)
        drawn.append(redraw(latent[None], identity, [()])[0])
    return np.stack(drawn)


def exchanged(latents: Tensor, others: Tensor, rows: tuple[int, ...]) -> Tensor:
    """Latents [n, 32, 64] whose ``rows`` are those of ``others`` [n, 32, 64]."""
    result = latents.copy()
    result[:, rows] = others[:, rows]
    return result


def exchanges(latents: Tensor, others: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Per high-level code its name and the latents with only that code taken from ``others``."""
    for name in contract.HIGH_LEVEL:
        yield name, exchanged(latents, others, (contract.high_level_row(name),))


def first(samples: Samples, count: int) -> Samples:
    """The first ``count`` of them."""
    return replace(
        samples,
        latents=samples.latents[:count],
        images=samples.images[:count],
        labels=samples.labels[:count],
    )
