"""A new face made for a subject: generated, fitted in the crop, put into the photograph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines, Tensor
from vera.face.faces import AlignedFace, embed
from vera.pixels.align import mask_to_crop, to_image, warp_to_crop
from vera.pixels.labels import probabilities, to_labels
from vera.region.subject import Subject
from vera.rendering.border import border_share
from vera.rendering.compose import Replacement, compose
from vera.rendering.detail import add_detail, split
from vera.rendering.fit import fit_face
from vera.rendering.refine import blend_crop, refine, refined_area
from vera.rendering.speckle import speckled
from vera.rendering.strands import Strands, find_strands

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What every draw for a subject finds the same, so it is made once.

    Attributes:
        kept: bool [box h, box w], True: the photograph stays.
        kept_in_crop: bool [256, 256], the same in the crop.
        strands: Hair in front of the face.
        share: float32 [256, 256], how much of the new picture is shown; None for all of it.
        now: uint8 [256, 256, 3], the photograph in the crop; None without a refiner.
    """

    kept: npt.NDArray[np.bool_]
    kept_in_crop: npt.NDArray[np.bool_]
    strands: Strands | None
    share: Tensor | None
    now: Image | None


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A generated face, fitted to its crop.

    Attributes:
        crop: float32 [256, 256, 3], 0..255.
        mask: float32 [256, 256], one half and above: take the generated face.
        finer: float32 [s, s, 3], the crop of a generator with larger pictures; else None.
        labels: uint8 [256, 256], the generated part map.
        spoilt: Whether the generated face shows coloured noise.
    """

    crop: Tensor
    mask: Tensor
    finer: Tensor | None
    labels: npt.NDArray[np.uint8]
    spoilt: bool = False


def scene_of(subject: Subject, *, refined: bool) -> Scene:
    """Prepares a subject; ``refined`` if the bundle has a refiner."""
    face, size = subject.face, contract.CROP_SIZE
    kept = face.box.cut(subject.kept)
    in_crop = mask_to_crop(kept, face.matrix, face.box, size)
    strands = find_strands(face.crop, face.labels, subject.replacing)
    share = border_share(face.labels, subject.replacing, face.matrix, subject.photo.shape)
    # The photograph as it is now: of a face replaced before this one nothing may come back.
    now = warp_to_crop(subject.photo, face.matrix, size) if refined else None
    return Scene(kept, in_crop, strands, share, now)


def render(latents: Tensor, subjects: Sequence[Subject], engines: Engines) -> list[Rendered]:
    """Generates the faces of ``latents`` [n, 32, d], one per subject, and fits each to its crop."""
    rendered = []
    for latent, subject in zip(latents, subjects, strict=True):
        # One by one: an output must not depend on how many photographs share its batch.
        outputs = engines.run("generator", latent=latent[None])
        labels = to_labels(probabilities(outputs["segmentation"]))
        face = subject.face
        bands = split(to_image(outputs["image"]))
        kept, replacing = subject.kept_classes, subject.replacing
        fitted, mask = fit_face(bands.crop, labels, face.crop, face.labels, kept, replacing)
        finer = None
        if bands.detail is not None:
            finer = add_detail(fitted, bands.detail, labels, kept, replacing)
        rendered.append(Rendered(fitted, mask, finer, labels, speckled(bands.crop, labels)))
    return rendered


def crop_embedding(
    rendered: Rendered, face: AlignedFace, kept_in_crop: npt.NDArray[np.bool_], engines: Engines
) -> Tensor:
    """Embedding [e] of the generated face, put together in the crop without blending."""
    taken = np.where(kept_in_crop, np.float32(0), rendered.mask)[..., None]
    mixed = taken * rendered.crop + (1 - taken) * face.crop
    image = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    points = face.points @ face.matrix[:, :2].T + face.matrix[:, 2]
    return embed(image, points, engines)


def place(
    rendered: Rendered, subject: Subject, scene: Scene, seed: tuple[int, ...], engines: Engines
) -> Image:
    """The photograph [h, w, 3] with the generated face in it."""
    face, crop = subject.face, rendered.crop
    if rendered.finer is not None:
        crop = rendered.finer
    elif scene.now is not None:
        blended, generated = blend_crop(crop, rendered.mask, scene.now, scene.kept_in_crop)
        area = refined_area(generated, face.labels, rendered.labels, subject.replacing)
        crop = refine(blended, area, engines).astype(np.float32)
    replacement = Replacement(
        crop, rendered.mask, face.matrix, face.box, scene.kept, scene.strands, scene.share
    )
    grain = int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0])
    return compose(subject.photo, replacement, seed=grain)
