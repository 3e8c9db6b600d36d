"""The whole path of a case: find, invert, draw, compose, gate.

One photograph that must not be written is refused and the others go on; anything unexpected ends
the call, and no image comes out of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle
from vera.case import Case, CasePhoto
from vera.contract import CROP_SIZE
from vera.detect import detect
from vera.draw import Drawn, Subject, draw_faces
from vera.engines import Engines
from vera.errors import RefusedError
from vera.faces import AlignedFace, detector, find_faces
from vera.gate import check_face, check_kept, refusal
from vera.inversion import InversionConfig, invert
from vera.regions import kept_from_file, kept_mask
from vera.replaced import require_face
from vera.report import FaceReport, InversionReport, KeptReport, PhotoReport
from vera.stopwatch import Stopwatch
from vera.versions import bundle_report, library_versions

Image = npt.NDArray[np.uint8]
Progress = Callable[[str, float], None]

# Where each stage ends, as a share of a case's time.
_FOUND, _INVERTED, _DRAWN = 0.1, 0.75, 0.9

# A bystander's inversion keeps only the light and the pose, for which few steps are enough.
_BYSTANDER_SHARE = 5


@dataclass(slots=True, eq=False)
class _Work:
    """One readable photograph on its way; ``faces[0]`` is the patient."""

    photo: CasePhoto
    image: Image
    kept: npt.NDArray[np.bool_]
    output: Image
    refusal: RefusedError | None = None
    faces: list[AlignedFace] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    kept_report: KeptReport = field(default_factory=KeptReport)
    inversion: InversionReport | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)
    warnings: list[str] = field(default_factory=list)


def anonymize_case(
    case: Case, engines: Engines, bundle: Bundle, progress: Progress
) -> list[tuple[Image | None, PhotoReport]]:
    """Anonymises a case.

    Args:
        case: Photographs of one person and the settings.
        engines: Runs the engines of the contract.
        bundle: Calibration, weights of the loss and the synthetic people.
        progress: Called with a stage and the done fraction of the case.

    Returns:
        Per photograph its image, or None if refused, and its report.

    Raises:
        EngineError: An engine failed.
        BundleError: The bank of synthetic people is damaged.
    """
    works = [_start(photo) for photo in case.photos]
    readable = [work for work in works if work is not None]
    for i, work in enumerate(readable):
        progress("find", _FOUND * i / len(readable))
        with _refusing(work):
            _find(work, case, engines)
    alive = [work for work in readable if work.refusal is None]
    if alive:
        _replace_patients(alive, case, engines, bundle, progress)
    alive = [work for work in alive if work.refusal is None]
    for i, work in enumerate(alive):
        progress("finish", _DRAWN + (1 - _DRAWN) * i / len(alive))
        with _refusing(work):
            _replace_bystanders(work, (case.seed, readable.index(work)), engines, bundle)
            _final_gate(work, engines, bundle)
    progress("done", 1.0)
    return [
        _outcome(photo, work, readable, case, bundle)
        for photo, work in zip(case.photos, works, strict=True)
    ]


def _start(photo: CasePhoto) -> _Work | None:
    if photo.image is None:
        return None
    return _Work(photo, photo.image, np.zeros(photo.image.shape[:2], np.bool_), photo.image)


@contextmanager
def _refusing(*works: _Work) -> Iterator[None]:
    """Turns a RefusedError into the verdict of these photographs: no image comes of them."""
    try:
        yield
    except RefusedError as error:
        for work in works:
            work.refusal = error
    except (ValueError, ArithmeticError, MemoryError) as error:
        # One odd photograph must not stop a folder for good; a broken engine still does.
        kind = type(error).__name__
        told = f"The photograph could not be worked on ({kind}); use another copy of it."
        for work in works:
            work.refusal = RefusedError("failed", told)


def _find(work: _Work, case: Case, engines: Engines) -> None:
    """Finds and describes the faces, and settles what is kept."""
    with work.watch.stage("find"):
        work.faces, doubted = find_faces(work.image, engines)
        if doubted:
            work.warnings.append(f"Detections that may be faces left as they are: {doubted}.")
        if case.faces == "largest" and len(work.faces) > 1:
            work.warnings.append(f"Smaller faces left as they are: {len(work.faces) - 1}.")
            work.faces = work.faces[:1]
        patient, photo = work.faces[0], work.photo
        if photo.mask is not None:
            part = kept_from_file(photo.mask, patient.shares, patient.matrix, patient.box)
        else:
            part = kept_mask(patient.shares, photo.keep, patient.matrix, patient.box)
        patient.box.cut(work.kept)[...] = part
        if photo.mask is not None:
            work.kept |= photo.mask  # beyond the patient's crop, too: bystanders must not touch it
        require_face(patient.labels)  # a face that is unclear refuses here, alone


def _replace_patients(
    works: list[_Work], case: Case, engines: Engines, bundle: Bundle, progress: Progress
) -> None:
    """Inverts the largest faces jointly and gives them one new identity."""
    config = InversionConfig.suited(bundle, case.steps)
    watch = Stopwatch()

    def step(done: float) -> None:
        progress("invert", _FOUND + (_INVERTED - _FOUND) * done)

    with watch.stage("invert"):
        inversion = invert(
            [work.faces[0] for work in works],
            [work.image.shape[:2] for work in works],
            engines,
            bundle,
            config,
            step,
        )
    progress("draw", _INVERTED)
    subjects = [
        Subject(work.image, work.faces[0], work.kept, work.photo.keep.classes) for work in works
    ]
    if "refiner" not in bundle.engines and bundle.layout.image <= CROP_SIZE:
        for work in works:
            work.warnings.append("The bundle has no refiner: the new face is as sharp as its crop.")
    with _refusing(*works), watch.stage("draw"):
        drawn = draw_faces(subjects, inversion.latents, (case.seed,), engines, bundle)
        for work, result in zip(works, drawn, strict=True):
            work.drawn, work.output = [result], result.output
    for work in works:
        work.inversion = inversion.report
        work.watch.milliseconds.update(watch.milliseconds)


def _replace_bystanders(
    work: _Work, seed: tuple[int, int], engines: Engines, bundle: Bundle
) -> None:
    """Gives every other face of a photograph a person of its own."""
    suited = InversionConfig.suited(bundle)
    config = replace(suited, steps=suited.steps // _BYSTANDER_SHARE)
    size = work.image.shape[:2]
    for i, face in enumerate(work.faces[1:], start=1):
        with work.watch.stage("bystanders"):
            latents = invert([face], [size], engines, bundle, config, _ignore).latents
            subject = Subject(work.output, face, work.kept)
            drawn = draw_faces([subject], latents, (*seed, i), engines, bundle)[0]
        work.drawn.append(drawn)
        work.output = drawn.output


def _final_gate(work: _Work, engines: Engines, bundle: Bundle) -> None:
    """Checks every kept pixel, and every face again if one was replaced after the patient's."""
    threshold = bundle.gate.cosine_threshold
    with work.watch.stage("gate"):
        work.kept_report = check_kept(work.image, work.output, work.kept)
        if len(work.faces) == 1:
            return
        found = detect(detector(engines), work.output)
        for i, (face, drawn) in enumerate(zip(work.faces, work.drawn, strict=True)):
            check = check_face(work.output, face, found, engines)
            if not check.passes(threshold):
                raise refusal(check.cosine, threshold, drawn.draws)
            work.drawn[i] = Drawn(work.output, check, drawn.draws)


def _outcome(
    photo: CasePhoto, work: _Work | None, works: list[_Work], case: Case, bundle: Bundle
) -> tuple[Image | None, PhotoReport]:
    """The image of a photograph, if it passed, and its report."""
    refused = photo.refusal if work is None else work.refusal
    report = PhotoReport(
        verdict="refused" if refused else "anonymized",
        reason=refused.reason if refused else None,
        message=str(refused) if refused else None,
        mode="paired" if case.paired else "single",
        seed=case.seed,
        keep=photo.regions,
        bundle=bundle_report(bundle),
        versions=library_versions(),
        warnings=photo.warnings,
    )
    if work is None:
        return None, report
    report = replace(
        report,
        milliseconds=work.watch.milliseconds,
        inversion=work.inversion,
        warnings=(*photo.warnings, *work.warnings),
    )
    if refused:
        return None, report
    return work.output, replace(
        report,
        kept=work.kept_report,
        faces=_face_reports(work, bundle.gate.cosine_threshold),
        pair_cosines=_pair_cosines(work, works),
    )


def _face_reports(work: _Work, threshold: float) -> tuple[FaceReport, ...]:
    reports = []
    for i, (face, drawn) in enumerate(zip(work.faces, work.drawn, strict=True)):
        width, height = face.found.box[2:] - face.found.box[:2]
        reports.append(
            FaceReport(
                box=(round(float(width)), round(float(height))),
                eye_distance_px=round(face.eye_distance_px, 1),
                identity_cosine=round(drawn.check.cosine, 4),
                threshold=threshold,
                draws=drawn.draws,
                patient=i == 0,
            )
        )
    return tuple(reports)


def _pair_cosines(work: _Work, works: list[_Work]) -> tuple[float, ...]:
    """Cosines of this output's patient to those of the case's other outputs."""
    mine = work.drawn[0].check.embedding
    others = [w for w in works if w is not work and w.refusal is None]
    return tuple(round(float(mine @ other.drawn[0].check.embedding), 4) for other in others)


def _ignore(done: float) -> None:
    """Progress of a bystander's inversion, which is not told."""
