"""The report of one photograph: what was done and how it was checked.

Never in a report: the photograph's file name, embeddings, crops, latents, or what the original
looked like; of its attributes only the changes are told. The schema is docs/report.schema.json.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

Verdict = Literal["anonymized", "refused"]
Mode = Literal["single", "paired"]
Band = Literal["safe", "close"]

# Raised when a field changes its meaning or goes away; new fields leave it as it is.
REPORT_FORMAT = 2


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a recogniser of the user's says about one face; VerA's networks never saw it.

    Attributes:
        name: Of the recogniser.
        sha256: First 12 digits of its file's hash.
        cosine: Of original and output face, in [-1, 1]; lower is safer.
        threshold: The cosine that must not be reached.
    """

    name: str
    sha256: str
    cosine: float
    threshold: float


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """How far the output's attributes are from the original's, by the attribute engine.

    Attributes:
        yaw: Degrees; in a report absolute and in steps of 5: the original's cannot be had back.
        pitch: Degrees, likewise.
        roll: Degrees, likewise.
        expression: Total variation distance of the expression probabilities, in [0, 1]; None in the
            report if the expression was not preserved.
        mouth_open: Inner lip gap over mouth width; in a report absolute, in tenths, or None.
        age: Years; in a report absolute, in steps of 5, or None if age was not preserved.
        skin_tone: CIE 1976 colour difference of the mean skin colours, 0 or more; None in the
            report if the skin tone was not preserved.
    """

    yaw: float | None
    pitch: float | None
    roll: float | None
    expression: float | None
    mouth_open: float | None
    age: float | None
    skin_tone: float | None


@dataclass(frozen=True, slots=True)
class SeamReport:
    """How the generated area meets the photograph, in grey levels of 255.

    Attributes:
        step: Median over the border of the step across it, less the photograph's own step there.
        step_p95: 95th percentile of the same.
        pixels: Border pixels measured.
    """

    step: float
    step_p95: float
    pixels: int


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """Whether all that identifies was replaced.

    Attributes:
        face_pixels: Pixels of the original's face, as far as they are not kept.
        left: Of these, pixels that the output shows as they were.
        share_left: ``left`` over ``face_pixels``, in [0, 1].
    """

    face_pixels: int
    left: int
    share_left: float


@dataclass(frozen=True, slots=True)
class FaceReport:
    """One replaced face.

    Attributes:
        box: Width and height of the detected face in photo pixels (its place is not recorded).
        eye_distance_px: Distance of the eye centres in photo pixels.
        identity_cosine: Cosine of the embeddings of original and output face, in [-1, 1]; lower is
            safer.
        threshold: The cosine from which on two faces count as one person, as calibrated.
        limit: The cosine that must not be reached: the threshold less a margin.
        draws: How many synthetic identities were drawn until one passed.
        patient: Whether this is the face that ``keep`` and the pair's identity apply to.
        band: ``"close"`` if the cosine is below the limit by less than the warning band.
        judges: The user's own recognisers.
        coverage: Whether a rim of the original face was left.
        seam: How well the generated area joins.
        change: Of the attributes.
    """

    box: tuple[int, int]
    eye_distance_px: float
    identity_cosine: float
    threshold: float
    draws: int
    patient: bool
    band: Band = "safe"
    limit: float = 1.0
    judges: tuple[JudgeReport, ...] = ()
    coverage: CoverageReport | None = None
    seam: SeamReport | None = None
    change: AttributeChange | None = None


@dataclass(frozen=True, slots=True)
class KeptReport:
    """The proof that the kept region is the photograph.

    Attributes:
        pixels_compared: Kept pixels, all of which were compared with the original; 0 when nothing
            is kept.
        max_difference: Largest difference over them and the three channels, in grey levels of 255.
        lossy: Whether the file was then written by a lossy codec, which changes kept pixels again.
        face_share: Share of the face that is kept, in [0, 1].
        outline: Closed polygons around the kept region, [x, y] in pixels of the output, rounded to
            about a pixel; the output shows the region, too.
    """

    pixels_compared: int = 0
    max_difference: int = 0
    lossy: bool = False
    face_share: float = 0.0
    outline: tuple[tuple[tuple[int, int], ...], ...] = ()


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
        keep: Names of the kept regions, ``("mask",)`` or ``("polygon",)``, empty for none.
        kept: The proof of equality of the kept region.
        faces: The replaced faces, the largest first.
        pair_cosines: Cosine between this output's patient and that of each other output of the
            case, in the case's order; high means: still one person.
        pair_cosines_generated: The same with the kept regions of both painted over: what the new
            identity alone does.
        variant: Which of several new identities this is, from 1.
        variants: How many were asked for.
        variant_cosines: Cosine of the new person to those of the other variants.
        photo: Place of the photograph in its case, from 1.
        identity: Keyed digest of the drawn identity; equal digests mean the same new person. None
            without a case key.
        settings: How the case was done: :class:`vera.settings.Settings` as a mapping.
        seed: Seed of all draws; same photographs, bundle and seed give the same output. With a case
            key it is 0: the key takes its place.
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
    pair_cosines_generated: tuple[float, ...] = ()
    photo: int = 1
    variant: int = 1
    variants: int = 1
    variant_cosines: tuple[float, ...] = ()
    identity: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    format: int = REPORT_FORMAT
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
