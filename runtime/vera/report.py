"""The report of one photograph: what was done and how it was checked.

Never in a report: the photograph's file name, embeddings, crops, latents or the place of a face.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

Verdict = Literal["anonymized", "refused"]
Mode = Literal["single", "paired"]


@dataclass(frozen=True, slots=True)
class FaceReport:
    """One replaced face.

    Attributes:
        box: Width and height of the detected face in photo pixels (its place is not recorded).
        eye_distance_px: Distance of the eye centres in photo pixels.
        identity_cosine: Cosine of the embeddings of original and output face, in [-1, 1]; lower is
            safer.
        threshold: The cosine that must not be reached.
        draws: How many synthetic identities were drawn until one passed.
        patient: Whether this is the face that ``keep`` and the pair's identity apply to.
    """

    box: tuple[int, int]
    eye_distance_px: float
    identity_cosine: float
    threshold: float
    draws: int
    patient: bool


@dataclass(frozen=True, slots=True)
class KeptReport:
    """The proof that the kept region is the photograph.

    Attributes:
        pixels_compared: Kept pixels, all of which were compared with the original; 0 when nothing
            is kept.
        max_difference: Largest difference over them and the three channels, in grey levels of 255.
        lossy: Whether the file was then written by a lossy codec, which changes kept pixels again.
    """

    pixels_compared: int = 0
    max_difference: int = 0
    lossy: bool = False


@dataclass(frozen=True, slots=True)
class InversionReport:
    """How well the patient's face was explained by the generator before its identity was replaced.

    Attributes:
        steps: Gradient steps taken after the encoder's start.
        loss_before: Loss of the encoder's start.
        loss_after: Smallest loss, which belongs to the latents that were used.
    """

    steps: int
    loss_before: float
    loss_after: float


@dataclass(frozen=True, slots=True)
class BundleReport:
    """Which networks were used: name, version, first 12 digits of each engine's sha256."""

    name: str
    version: str
    engines: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PhotoReport:
    """Everything that is said about one photograph.

    Attributes:
        verdict: ``"anonymized"`` or ``"refused"``; a refused photograph has no image.
        reason: Short stable name of the refusal, such as ``"no-face"``; None when anonymized.
        message: The refusal as a sentence; None when anonymized.
        mode: ``"paired"`` when several photographs of one person were treated together.
        keep: Names of the kept regions, ``("mask",)`` for a mask file, empty for none.
        kept: The proof of equality of the kept region.
        faces: The replaced faces, the largest first.
        pair_cosines: Cosine between this output's patient and that of each other output of the
            case, in the case's order; high means: still one person.
        seed: Seed of all draws; same photographs, bundle and seed give the same output.
        bundle: The networks.
        versions: Versions of VerA, Python and the libraries.
        milliseconds: Time per stage. Stages that a case shares are reported in full for each
            photograph.
        inversion: The inversion of the patient's face; None if it was never reached.
        warnings: Sentences on what deserves a look.
    """

    verdict: Verdict
    mode: Mode
    seed: int
    bundle: BundleReport
    reason: str | None = None
    message: str | None = None
    keep: tuple[str, ...] = ()
    kept: KeptReport = KeptReport()
    faces: tuple[FaceReport, ...] = ()
    pair_cosines: tuple[float, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    inversion: InversionReport | None = None
    warnings: tuple[str, ...] = ()

    def as_written(self, *, lossy: bool) -> "PhotoReport":
        """The report of a file written by a codec that is ``lossy`` or not."""
        if not lossy:
            return self
        warning = (
            "The output is a lossy file: its kept region no longer equals the photograph exactly."
        )
        told = (warning,) if self.kept.pixels_compared else ()
        return replace(self, kept=replace(self.kept, lossy=True), warnings=(*self.warnings, *told))

    def to_json(self) -> str:
        """The report as JSON text, two spaces of indent, keys in the order of the attributes."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)
