"""What a case ends in: per photograph and variant an image or none, and the report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle
from vera.case.case import Case, CasePhoto
from vera.case.work import Version, Work
from vera.engines import Engines, Tensor
from vera.face.faces import AlignedFace, embed
from vera.face.readings import change, read_face, told_change
from vera.gate.gate import Gate
from vera.gate.seam import measure_seam, seam_shows, seam_warning
from vera.region.outline import outline
from vera.report import AttributeChange, FaceReport, PhotoReport, SeamReport
from vera.settings import Settings
from vera.versions import bundle_report, library_versions

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One variant of one photograph, done.

    Attributes:
        image: uint8 [h, w, 3]; None if refused.
        report: What was done.
        person: float32 [e], the new person in a neutral view; None if refused.
    """

    image: Image | None
    report: PhotoReport
    person: Tensor | None = None


def outcomes(
    case: Case,
    works: Sequence[Work | None],
    variants: Sequence[Sequence[Version]],
    bundle: Bundle,
    gate: Gate,
    engines: Engines,
) -> list[Outcome]:
    """Outcomes of all photographs of the first variant, then of the second, and so on.

    Args:
        case: What was asked.
        works: One per photograph; None where it could not be read.
        variants: Per variant the versions of the photographs that came as far.
        bundle: The networks.
        gate: Its figures.
        engines: Run the embedder.
    """
    done = []
    for number, versions in enumerate(variants, 1):
        by_photo = {version.work.number: version for version in versions}
        alive = [version for version in versions if version.refusal is None]
        for i, (photo, work) in enumerate(zip(case.photos, works, strict=True)):
            report = replace(_blank(photo, work, case, bundle), photo=i + 1, variant=number)
            version = by_photo.get(i)
            if version is None:
                done.append(Outcome(None, report))
                continue
            others = [other for other in alive if other is not version]
            earlier = [
                same.portrait
                for k, rest in enumerate(variants, 1)
                for same in rest
                if k != number
                and same.work.number == i
                and same.refusal is None
                and same.portrait is not None
            ]
            report = _filled(report, version, others, earlier, case, gate, engines)
            image = version.output if version.refusal is None else None
            done.append(Outcome(image, report, version.portrait if image is not None else None))
    return done


def _blank(photo: CasePhoto, work: Work | None, case: Case, bundle: Bundle) -> PhotoReport:
    """The report of a photograph that did not come as far as a draw."""
    refused = photo.refusal if work is None else work.refusal
    report = PhotoReport(
        verdict="refused",
        reason=refused.reason if refused else None,
        message=str(refused) if refused else None,
        mode="paired" if case.paired else "single",
        seed=case.seed,
        variants=case.settings.variants,
        keep=photo.regions,
        settings=case.settings.options(),
        bundle=bundle_report(bundle),
        versions=library_versions(),
        warnings=photo.warnings,
    )
    if work is None:
        return report
    return replace(
        report,
        milliseconds=work.watch.milliseconds,
        inversion=work.inversion,
        warnings=(*photo.warnings, *work.warnings),
    )


def _filled(
    report: PhotoReport,
    version: Version,
    others: Sequence[Version],
    earlier: Sequence[Tensor],
    case: Case,
    gate: Gate,
    engines: Engines,
) -> PhotoReport:
    report = replace(report, milliseconds={**report.milliseconds, **version.watch.milliseconds})
    if version.refusal is not None:
        reason, message = version.refusal.reason, str(version.refusal)
        return replace(report, reason=reason, message=message)
    faces = _face_reports(version, case, gate, engines)
    cosines, generated = _pair_cosines(version, others, engines)
    portrait = version.portrait
    return replace(
        report,
        verdict="anonymized",
        reason=None,
        message=None,
        kept=replace(
            version.kept_report,
            face_share=round(version.work.face_share, 4),
            outline=outline(version.work.kept),
        ),
        faces=faces,
        pair_cosines=cosines,
        pair_cosines_generated=generated,
        variant_cosines=tuple(
            round(float(other @ portrait), 4) for other in earlier if portrait is not None
        ),
        identity=version.identity,
        warnings=(*report.warnings, *_warnings(faces)),
    )


def _face_reports(
    version: Version, case: Case, gate: Gate, engines: Engines
) -> tuple[FaceReport, ...]:
    reports = []
    for i, (face, drawn) in enumerate(zip(version.work.faces, version.drawn, strict=True)):
        width, height = face.found.box[2:] - face.found.box[:2]
        reports.append(
            FaceReport(
                box=(round(float(width)), round(float(height))),
                eye_distance_px=round(face.eye_distance_px, 1),
                identity_cosine=round(drawn.check.cosine, 4),
                threshold=gate.threshold,
                limit=round(gate.limit, 4),
                draws=drawn.draws,
                patient=i == 0,
                band=gate.band(drawn.check.cosine),
                judges=tuple(replace(j, cosine=round(j.cosine, 4)) for j in drawn.check.judges),
                coverage=drawn.check.coverage,
                seam=_seam(version, face),
                change=_change(version, face, case.settings, engines),
            )
        )
    return tuple(reports)


def _seam(version: Version, face: AlignedFace) -> SeamReport:
    before, after = version.work.image, version.output
    changed = np.zeros(before.shape[:2], np.bool_)
    difference = face.box.cut(before) != face.box.cut(after)
    face.box.cut(changed)[...] = difference.any(axis=2)
    return measure_seam(before, after, changed, face.matrix)


def _change(
    version: Version, face: AlignedFace, settings: Settings, engines: Engines
) -> AttributeChange:
    before = read_face(version.work.original, face.points, engines, face.labels)
    after = read_face(version.output, face.points, engines)
    return told_change(change(before, after), settings.preserve)


def _pair_cosines(
    version: Version, others: Sequence[Version], engines: Engines
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Cosines of this output's patient to the other outputs: with and without what is kept."""
    mine = version.drawn[0].check.embedding
    cosines = [float(mine @ other.drawn[0].check.embedding) for other in others]
    if not any(one.work.kept.any() for one in (version, *others)):
        return _rounded(cosines), _rounded(cosines)
    bare = _generated_embedding(version, engines) if others else mine
    generated = [float(bare @ _generated_embedding(other, engines)) for other in others]
    return _rounded(cosines), _rounded(generated)


def _generated_embedding(version: Version, engines: Engines) -> Tensor:
    return embed(version.output, version.work.faces[0].points, engines, hidden=version.work.kept)


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values)


def _warnings(faces: Sequence[FaceReport]) -> tuple[str, ...]:
    told = [seam_warning(face.seam) for face in faces if face.seam and seam_shows(face.seam)]
    close = sum(face.band == "close" for face in faces)
    if close:
        told.append(
            f"Faces that passed the gate by a narrow margin: {close}; compare them with the "
            "original, or keep less."
        )
    return tuple(told)
