"""Synthetic people are tried on the faces of one person until the gate lets one through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.align import mask_to_crop, to_image, warp_to_crop
from vera.bundle import Bundle
from vera.compose import Replacement, compose
from vera.detail import add_detail, split
from vera.detect import detect
from vera.engines import Engines, Tensor
from vera.faces import AlignedFace, detector, embed
from vera.fit import fit_face
from vera.gate import DRAWS, FaceCheck, check_face, far_enough, refusal
from vera.labels import probabilities, to_labels
from vera.redraw import Appearance, draw_identity, redraw
from vera.refine import blend_crop, refine
from vera.strands import Strands, find_strands

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A face that is to be replaced.

    Attributes:
        photo: The photograph as it is now, other faces perhaps replaced already.
        face: The face as it was.
        kept: bool [h, w], True: the photograph stays.
        kept_classes: The classes whose codes stay, too.
    """

    photo: Image
    face: AlignedFace
    kept: npt.NDArray[np.bool_]
    kept_classes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A replaced face: the photograph with it, its check, and how many people were tried."""

    output: Image
    check: FaceCheck
    draws: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rendered:
    crop: Tensor  # [256, 256, 3], 0..255
    mask: Tensor  # [256, 256]
    finer: Tensor | None  # [s, s, 3], the crop of a generator with larger pictures


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What every draw for a subject finds the same, so it is made once.

    Attributes:
        kept: bool [box h, box w], True: the photograph stays.
        strands: Hair in front of the face.
        refined: The photograph in the crop, and what is kept there; None without a refiner.
    """

    kept: npt.NDArray[np.bool_]
    strands: Strands | None
    refined: tuple[Image, npt.NDArray[np.bool_]] | None


def draw_faces(
    subjects: Sequence[Subject],
    latents: Tensor,
    seed: tuple[int, ...],
    engines: Engines,
    bundle: Bundle,
) -> list[Drawn]:
    """Gives one new identity to the faces of one person.

    Args:
        subjects: The person's face in each photograph.
        latents: float32 [n, 32, d], their inversion.
        seed: The user's seed and, for bystanders, which face it is.
        engines: Runs the engines.
        bundle: Gate calibration and the synthetic people.

    Returns:
        One per subject, of the first draw that passes in every photograph.

    Raises:
        RefusedError: ``identity-too-close`` or ``face-lost`` after the last draw.
    """
    threshold = bundle.gate.cosine_threshold
    wanted = appearance([subject.face for subject in subjects], latents)
    kept = [subject.kept_classes for subject in subjects]
    scenes = [_scene(subject, refined="refiner" in bundle.engines) for subject in subjects]
    best = float("inf")  # over the draws, the smallest cosine of the photograph that came out worst
    for draw in range(DRAWS):
        identity = draw_identity(bundle.identities, wanted, seed, draw)
        rendered = _render(redraw(latents, identity, kept), subjects, engines)
        cosines = [_crop_cosine(r, s, engines) for r, s in zip(rendered, subjects, strict=True)]
        # The crop shows most hopeless draws before anything of the photograph's size is touched.
        if not all(far_enough(cosine, threshold) for cosine in cosines):
            best = min(best, max(cosines))
            continue
        outputs = [
            _compose(r, s, scene, seed, engines)
            for r, s, scene in zip(rendered, subjects, scenes, strict=True)
        ]
        checks = [
            check_face(output, s.face, detect(detector(engines), output), engines)
            for output, s in zip(outputs, subjects, strict=True)
        ]
        if all(check.passes(threshold) for check in checks):
            return [Drawn(o, c, draw + 1) for o, c in zip(outputs, checks, strict=True)]
        best = min(best, max(check.cosine for check in checks))
    raise refusal(best, threshold, DRAWS)


def appearance(faces: Sequence[AlignedFace], latents: Tensor) -> Appearance:
    """What a new person must fit: means over the photographs of the old one."""
    embedding = np.mean([face.embedding for face in faces], axis=0)
    return Appearance(
        skin=np.mean([face.skin for face in faces], axis=0),
        female=float(np.mean([face.female for face in faces])),
        age=float(np.mean([face.age for face in faces])),
        yaw=float(np.mean([face.yaw for face in faces])),
        expression=latents[:, contract.high_level_row("expression")].mean(0),
        embedding=embedding / max(float(np.linalg.norm(embedding)), 1e-6),
    )


def _render(latents: Tensor, subjects: Sequence[Subject], engines: Engines) -> list[_Rendered]:
    rendered = []
    for latent, subject in zip(latents, subjects, strict=True):
        # One by one: an output must not depend on how many photographs share its batch.
        outputs = engines.run("generator", latent=latent[None])
        labels = to_labels(probabilities(outputs["segmentation"]))
        face = subject.face
        bands = split(to_image(outputs["image"]))
        fitted, mask = fit_face(bands.crop, labels, face.crop, face.labels, subject.kept_classes)
        finer = None
        if bands.detail is not None:
            finer = add_detail(fitted, bands.detail, labels, subject.kept_classes)
        rendered.append(_Rendered(fitted, mask, finer))
    return rendered


def _crop_cosine(rendered: _Rendered, subject: Subject, engines: Engines) -> float:
    """Cosine of original and generated face, put together in the crop without blending."""
    face = subject.face
    taken = np.where(np.isin(face.labels, subject.kept_classes), np.float32(0), rendered.mask)[
        ..., None
    ]
    mixed = taken * rendered.crop + (1 - taken) * face.crop
    image = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    points = face.points @ face.matrix[:, :2].T + face.matrix[:, 2]
    return float(embed(image, points, engines) @ face.embedding)


def _scene(subject: Subject, *, refined: bool) -> _Scene:
    face, size = subject.face, contract.CROP_SIZE
    kept = face.box.cut(subject.kept)
    strands = find_strands(face.crop, face.labels)
    if not refined:
        return _Scene(kept, strands, None)
    # The photograph as it is now: of a face replaced before this one nothing may come back.
    now = warp_to_crop(subject.photo, face.matrix, size)
    return _Scene(kept, strands, (now, mask_to_crop(kept, face.matrix, face.box, size)))


def _compose(
    rendered: _Rendered,
    subject: Subject,
    scene: _Scene,
    seed: tuple[int, ...],
    engines: Engines,
) -> Image:
    face, crop = subject.face, rendered.crop
    if rendered.finer is not None:
        crop = rendered.finer
    elif scene.refined is not None:
        blended, generated = blend_crop(crop, rendered.mask, *scene.refined)
        crop = refine(blended, generated, engines).astype(np.float32)
    replacement = Replacement(crop, rendered.mask, face.matrix, face.box, scene.kept, scene.strands)
    grain = int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0])
    return compose(subject.photo, replacement, seed=grain)
