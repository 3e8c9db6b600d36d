"""Photographs on their way through a case, and what becomes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vera.case.case import CasePhoto
from vera.case.draw import Drawn
from vera.case.stopwatch import Stopwatch
from vera.engines import Tensor
from vera.errors import RefusedError
from vera.face.faces import AlignedFace
from vera.region.replaced import IN_PLACE, Replacing
from vera.region.subject import Subject
from vera.report import InversionReport, KeptReport

Image = npt.NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class Work:
    """One readable photograph; ``faces[0]`` is the patient.

    Attributes:
        number: Its place in the case, from 0.
        photo: As it was read.
        image: uint8 [h, w, 3], the photograph, or what is made of it before a face is replaced.
        original: The same before its background was blurred: what is kept must equal this.
        kept: bool [h, w], True: the photograph stays.
        refusal: Why there will be no output, in any variant.
        faces: Those to replace.
        replacing: What the generated picture takes over.
        face_share: Share of the patient's face that is kept.
        bystanders: Inverted latents [1, 32, d] of each further face.
        inversion: Of the patient.
        watch: Time per stage.
        warnings: Sentences.
    """

    number: int
    photo: CasePhoto
    image: Image
    original: Image
    kept: npt.NDArray[np.bool_]
    refusal: RefusedError | None = None
    faces: list[AlignedFace] = field(default_factory=list)
    replacing: Replacing = IN_PLACE
    face_share: float = 0.0
    bystanders: list[Tensor] = field(default_factory=list)
    inversion: InversionReport | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)
    warnings: list[str] = field(default_factory=list)

    def subject(self, face: int = 0, photo: Image | None = None) -> Subject:
        """A face of the photograph; ``photo`` is the photograph as it is now."""
        now = self.image if photo is None else photo
        if face == 0:
            classes = self.photo.keep.classes
            return Subject(now, self.faces[0], self.kept, classes, self.replacing)
        # A bystander's hair and surroundings may be the patient's new face.
        face_alone = replace(self.replacing, hair=False, background=False)
        return Subject(now, self.faces[face], self.kept, (), face_alone)


@dataclass(slots=True, eq=False)
class Version:
    """One variant of one photograph.

    Attributes:
        work: The photograph.
        output: uint8 [h, w, 3], as far as it is done.
        refusal: Why there is no output.
        drawn: The replaced faces, the patient's first.
        kept_report: The proof of equality.
        portrait: float32 [e], the new person in a neutral view.
        identity: Name of the new identity under the case's key.
        watch: Time per stage of this variant.
    """

    work: Work
    output: Image
    refusal: RefusedError | None = None
    drawn: list[Drawn] = field(default_factory=list)
    kept_report: KeptReport = field(default_factory=KeptReport)
    portrait: Tensor | None = None
    identity: str | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)


@contextmanager
def refusing(*items: Work | Version) -> Iterator[None]:
    """Turns a RefusedError into the verdict of these photographs: no image comes of them."""
    try:
        yield
    except RefusedError as error:
        # Not where it came from: those frames hold the photographs, which would hold them in turn.
        error.with_traceback(None)
        for item in items:
            item.refusal = error
    except (ValueError, ArithmeticError, MemoryError) as error:
        # One odd photograph must not stop a folder for good; a broken engine still does.
        kind = type(error).__name__
        told = f"The photograph could not be worked on ({kind}); use another copy of it."
        for item in items:
            item.refusal = RefusedError("failed", told)
