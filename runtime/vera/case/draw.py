"""Synthetic people are tried on the faces of one person until the gate lets one through."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle
from vera.engines import Engines, Tensor
from vera.errors import RefusedError
from vera.face.detect import detect
from vera.face.faces import detector, embed
from vera.gate.gate import FaceCheck, Gate, check_face
from vera.identity.proposals import Proposal
from vera.pixels.align import FFHQ, to_image
from vera.region.subject import Subject
from vera.rendering.render import Rendered, Scene, crop_embedding, place, render, scene_of

Image = npt.NDArray[np.uint8]

# Two people whose portraits in a neutral view are closer than this are one to a human eye, too: the
# same person in two photographs comes out at 0.68 to 0.94, people drawn for different patients at
# 0.79 in one of twenty pairs and at 0.88 in one of a hundred.
SAME_PERSON = 0.95

# Largest cosine of two variants of one photograph: people drawn for the same head come out at 0.69
# in the median.
VARIANTS_APART = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What a new person must satisfy besides the gate.

    Attributes:
        variants: Per photograph the embeddings float32 [e] of earlier variants' output faces.
        people: float32 [m, e], other cases' new people in a neutral view; None asks for nothing.
        separation: Largest cosine to either; None takes the constants above.
    """

    variants: tuple[Sequence[Tensor], ...] = ()
    people: Tensor | None = None
    separation: float | None = None

    def parts_from_variants(self, photo: int, embedding: Tensor) -> bool:
        """Whether a face is far enough from the earlier variants of its photograph."""
        if not self.variants:
            return True
        limit = VARIANTS_APART if self.separation is None else self.separation
        return all(float(face @ embedding) < limit for face in self.variants[photo])

    def parts_from_people(self, person: Tensor) -> bool:
        """Whether a person is none of the other cases'."""
        if self.people is None or not len(self.people):
            return True
        limit = SAME_PERSON if self.separation is None else self.separation
        return bool(np.all(self.people @ person < limit))


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A replaced face: the photograph with it, its check, and how many people were tried."""

    output: Image
    check: FaceCheck
    draws: int


@dataclass(frozen=True, slots=True, eq=False)
class NewPerson:
    """The new identity of a case.

    Attributes:
        drawn: One per subject.
        portrait: float32 [e], the person's embedding in a neutral view without the patient.
        identity: float32 [32, d], the person's codes.
    """

    drawn: list[Drawn]
    portrait: Tensor
    identity: Tensor


@dataclass(slots=True)
class _Best:
    """How close the draws that failed came, for the refusal.

    Attributes:
        cosine: Over the draws, the smallest cosine of the photograph that came out worst.
        generated: The same without the kept regions.
        crowded: Draws that failed only because another variant or case has such a person.
        unsafe: The last refusal by a check other than the distance.
    """

    cosine: float = float("inf")
    generated: float = float("inf")
    crowded: int = 0
    unsafe: RefusedError | None = None


def draw_faces(
    subjects: Sequence[Subject],
    proposals: Iterable[Proposal],
    seed: tuple[int, ...],
    engines: Engines,
    bundle: Bundle,
    gate: Gate,
    wish: Wish | None = None,
) -> NewPerson:
    """Gives one new identity to the faces of one person.

    Args:
        subjects: The person's face in each photograph.
        proposals: People to try, each with the latents of all photographs.
        seed: Of the grain.
        engines: Runs the engines.
        bundle: Has a refiner or not, and the synthetic people.
        gate: What must hold.
        wish: What else must hold.

    Returns:
        The first person that passes in every photograph.

    Raises:
        RefusedError: ``identity-too-close``, ``kept-region-identifies``, ``face-lost``,
            ``identities-exhausted`` or a reason of the gate, after the last draw.
    """
    scenes = [scene_of(subject, refined="refiner" in bundle.engines) for subject in subjects]
    trial = _Trial(subjects, scenes, seed, engines, bundle, gate, wish or Wish())
    spoilt: list[tuple[int, Proposal, list[Rendered]]] = []
    tried = 0
    for tried, proposal in enumerate(proposals, 1):
        rendered = render(proposal.latents, subjects, engines)
        if any(one.spoilt for one in rendered):
            spoilt.append((tried, proposal, rendered))
            continue
        person = trial.person(proposal, rendered, tried)
        if person is not None:
            return person
    # Noise is ugly, not dangerous: better such a face than none.
    for number, proposal, rendered in spoilt:
        person = trial.person(proposal, rendered, number)
        if person is not None:
            return person
    raise _refusal(trial.best, tried, gate)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """The faces of one person, on which people are tried."""

    subjects: Sequence[Subject]
    scenes: Sequence[Scene]
    seed: tuple[int, ...]
    engines: Engines
    bundle: Bundle
    gate: Gate
    wish: Wish
    best: _Best = field(default_factory=_Best)

    def person(
        self, proposal: Proposal, rendered: Sequence[Rendered], draws: int
    ) -> NewPerson | None:
        """The person in all photographs, or None if one does not pass."""
        if not self._promising(rendered):
            return None
        portrait = _portrait(proposal, self.engines, self.bundle)
        if not self.wish.parts_from_people(portrait):
            self.best.crowded += 1
            return None
        drawn = self._finished(rendered, draws)
        if drawn is None:
            return None
        if all(self.wish.parts_from_variants(i, d.check.embedding) for i, d in enumerate(drawn)):
            return NewPerson(drawn, portrait, proposal.identity)
        self.best.crowded += 1
        return None

    def _promising(self, rendered: Sequence[Rendered]) -> bool:
        """Tells hopeless people by the crop, before anything of the photo's size is touched."""
        embeddings = [
            crop_embedding(r, s.face, scene.kept_in_crop, self.engines)
            for r, s, scene in zip(rendered, self.subjects, self.scenes, strict=True)
        ]
        cosines = self._cosines(embeddings)
        if all(self.gate.far_enough(cosine) for cosine in cosines):
            apart = all(self.wish.parts_from_variants(i, e) for i, e in enumerate(embeddings))
            self.best.crowded += not apart
            return apart
        self.best.cosine = min(self.best.cosine, max(cosines))
        if any(scene.kept_in_crop.any() for scene in self.scenes):
            nothing = np.zeros_like(self.scenes[0].kept_in_crop)
            bare = [
                crop_embedding(r, s.face, nothing, self.engines)
                for r, s in zip(rendered, self.subjects, strict=True)
            ]
            self.best.generated = min(self.best.generated, max(self._cosines(bare)))
        return False

    def _cosines(self, embeddings: Sequence[Tensor]) -> list[float]:
        pairs = zip(embeddings, self.subjects, strict=True)
        return [float(embedding @ subject.face.embedding) for embedding, subject in pairs]

    def _finished(self, rendered: Sequence[Rendered], draws: int) -> list[Drawn] | None:
        """The photographs with the new face, or None if one does not pass."""
        drawn = []
        for one, subject, scene in zip(rendered, self.subjects, self.scenes, strict=True):
            output = place(one, subject, scene, self.seed, self.engines)
            found = detect(detector(self.engines), output)
            check = check_face(output, subject, found, self.engines, self.gate)
            drawn.append(Drawn(output, check, draws))
        refusals = [self.gate.refusal(one.check) for one in drawn]
        if not any(refusals):
            return drawn
        self.best.cosine = min(self.best.cosine, max(one.check.cosine for one in drawn))
        self.best.unsafe = next(refusal for refusal in refusals if refusal)
        return None


def _portrait(proposal: Proposal, engines: Engines, bundle: Bundle) -> Tensor:
    """Embedding [e] of the new person in a neutral view: nothing of the patient is in it."""
    latents = bundle.identities.mean[None].copy()
    rows = list(proposal.rows)
    latents[0, rows] = proposal.identity[rows]
    image = to_image(engines.run("generator", latent=latents)["image"])
    return embed(image, FFHQ.points * (image.shape[0] / FFHQ.size), engines)


def _refusal(best: _Best, draws: int, gate: Gate) -> RefusedError:
    if best.crowded and not np.isfinite(best.cosine) and best.unsafe is None:
        return RefusedError(
            "identities-exhausted",
            f"Each of {draws} synthetic people was too much like one that is taken already; allow "
            "more likeness by --separation, ask for fewer variants, or try another seed.",
        )
    if gate.far_enough(best.generated) and not gate.far_enough(best.cosine):
        return RefusedError(
            "kept-region-identifies",
            f"With the kept region no other person came out: best cosine {best.cosine:.2f}, "
            f"allowed below {gate.limit:.2f}; without it {best.generated:.2f}; keep less.",
        )
    if best.unsafe is not None:
        return best.unsafe
    return RefusedError(
        "identity-too-close",
        f"None of {draws} synthetic people was far enough from the original: best cosine "
        f"{best.cosine:.2f}, allowed below {gate.limit:.2f}; keep a smaller region, or try "
        "another seed.",
    )
