"""The whole path of a case: find, invert, draw, compose, gate.

One photograph that must not be written is refused and the others go on; anything unexpected ends
the call, and no image comes out of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vera.bundle import Bundle
from vera.case.case import Case, CasePhoto
from vera.case.draw import Drawn, Wish, draw_faces
from vera.case.outcome import Outcome, outcomes
from vera.case.preparation import framed, settle_kept
from vera.case.stopwatch import Stopwatch
from vera.case.work import Version, Work, refusing
from vera.contract import CROP_SIZE
from vera.engines import Engines, Tensor
from vera.face.appearance import Appearance, appearance
from vera.face.detect import detect
from vera.face.faces import detector, find_faces
from vera.gate.gate import Gate, check_face, check_kept
from vera.identity.inversion import InversionConfig, invert
from vera.identity.margin import movable, propose_moved, require_guide
from vera.identity.objective import Evaluator, OneByOne
from vera.identity.proposals import Proposal, Source, parts_of, propose
from vera.judge import Judge
from vera.region.replaced import Replacing, require_face
from vera.region.subject import Subject
from vera.rendering.background import blur_background
from vera.rendering.border import left_beyond

Progress = Callable[[str, float], None]

# Where each stage ends, as a share of a case's time.
_FOUND, _INVERTED = 0.1, 0.7

# A bystander's inversion keeps only the light and the pose, for which few steps are enough.
_BYSTANDER_SHARE = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Tools:
    """What a case is done with."""

    engines: Engines
    bundle: Bundle
    evaluator: Evaluator
    gate: Gate


@dataclass(frozen=True, slots=True, eq=False)
class _Patients:
    """What all variants of a case start from."""

    works: list[Work]
    latents: Tensor
    wanted: Appearance


def anonymize_case(
    case: Case,
    engines: Engines,
    bundle: Bundle,
    progress: Progress,
    people: Tensor | None = None,
    judges: Sequence[Judge] = (),
    evaluator: Evaluator | None = None,
) -> list[Outcome]:
    """Anonymises a case.

    Args:
        case: Photographs of one person and the settings.
        engines: Runs the engines of the contract.
        bundle: Calibration, weights of the loss and the synthetic people.
        progress: Called with a stage and the done fraction of the case.
        people: float32 [m, e], new people of other cases, none of whom may come out.
        judges: The user's recognisers.
        evaluator: Computes loss and gradient of the inversions; None does it here.

    Returns:
        Per variant and photograph its outcome, all photographs of the first variant first.

    Raises:
        EngineError: An engine failed.
        BundleError: The bank of synthetic people is damaged.
    """
    gate = Gate(bundle.gate.cosine_threshold, tuple(judges))
    tools = _Tools(engines, bundle, evaluator or OneByOne(engines), gate)
    if case.settings.method == "margin":
        require_guide(bundle)
    works = [_start(i, photo) for i, photo in enumerate(case.photos)]
    readable = [work for work in works if work is not None]
    for i, work in enumerate(readable):
        progress("find", _FOUND * i / len(readable))
        with refusing(work):
            _find(work, case, engines)
    alive = [work for work in readable if work.refusal is None]
    variants: list[list[Version]] = []
    if alive:
        patients = _invert_patients(alive, case, tools, progress)
        for number in range(case.settings.variants):
            progress("draw", _INVERTED + (1 - _INVERTED) * number / case.settings.variants)
            wish = _wish(variants, alive, case, people)
            versions = _replace_patients(patients, number, case, tools, wish)
            variants.append(versions)
            for version in versions:
                with refusing(version):
                    _replace_bystanders(version, number, case, tools)
                    _final_gate(version, engines, gate)
    variants += [[] for _ in range(case.settings.variants - len(variants))]
    progress("done", 1.0)
    return outcomes(case, works, variants, bundle, gate, engines)


def _start(number: int, photo: CasePhoto) -> Work | None:
    if photo.image is None:
        return None
    return Work(number, photo, photo.image, photo.image, np.zeros(photo.image.shape[:2], np.bool_))


def _find(work: Work, case: Case, engines: Engines) -> None:
    """Finds and describes the faces, and settles what is kept."""
    with work.watch.stage("find"):
        work.faces, doubted = find_faces(work.image, engines)
        if doubted:
            work.warnings.append(f"Detections that may be faces left as they are: {doubted}.")
        if case.settings.faces == "largest" and len(work.faces) > 1:
            work.warnings.append(f"Smaller faces left as they are: {len(work.faces) - 1}.")
            work.faces = work.faces[:1]
        require_face(work.faces[0].labels)  # a face that is unclear refuses here, alone
        mask = work.photo.mask
        if case.settings.frame == "crop":
            mask = framed(work, mask, engines)
        settle_kept(work, mask, case.settings)
        work.replacing = Replacing.of(case.settings)
        if case.settings.background == "blur":
            work.image = blur_background(work.image, work.faces, work.kept)
        shape = work.image.shape
        for face in work.faces:
            told = left_beyond(face.labels, work.replacing, face.matrix, shape)
            work.warnings += [text for text in told if text not in work.warnings]


def _invert_patients(works: list[Work], case: Case, tools: _Tools, progress: Progress) -> _Patients:
    """Inverts the largest faces jointly."""
    bundle = tools.bundle
    config = InversionConfig.suited(bundle, case.settings.steps)
    watch = Stopwatch()

    def step(done: float) -> None:
        progress("invert", _FOUND + (_INVERTED - _FOUND) * done)

    with watch.stage("invert"):
        inversion = invert(
            [work.faces[0] for work in works],
            [work.image.shape[:2] for work in works],
            tools.engines,
            bundle,
            config,
            step,
            [work.photo.keep.classes for work in works],
            tools.evaluator,
        )
    for work in works:
        work.inversion = inversion.report
        work.watch.milliseconds.update(watch.milliseconds)
        if "refiner" not in bundle.engines and bundle.layout.image <= CROP_SIZE:
            work.warnings.append("The bundle has no refiner: the new face is as sharp as its crop.")
    wanted = appearance([work.faces[0] for work in works], inversion.latents)
    return _Patients(works, inversion.latents, wanted)


def _wish(
    variants: Sequence[Sequence[Version]], works: Sequence[Work], case: Case, people: Tensor | None
) -> Wish:
    """Earlier variants of the same photographs, and other cases' people."""
    faces = [
        [
            version.drawn[0].check.embedding
            for versions in variants
            for version in versions
            if version.work is work and version.refusal is None
        ]
        for work in works
    ]
    return Wish(tuple(faces), people, case.settings.separation)


def _replace_patients(
    patients: _Patients,
    number: int,
    case: Case,
    tools: _Tools,
    wish: Wish,
) -> list[Version]:
    """Gives the largest faces one new identity."""
    versions = [Version(work, work.image) for work in patients.works]
    # The first variant is the one that a case without variants gets.
    own = () if number == 0 else (number,)
    source = Source(own if case.key else (case.seed, *own), case.key)
    watch = Stopwatch()
    with refusing(*versions), watch.stage("draw"):
        subjects = [work.subject() for work in patients.works]
        proposals = _proposals(subjects, patients, case, tools, source)
        grain = (case.seed, *own)
        engines, bundle, gate = tools.engines, tools.bundle, tools.gate
        person = draw_faces(subjects, proposals, grain, engines, bundle, gate, wish)
        name = case.key.name_of(person.identity.tobytes()) if case.key else None
        for version, drawn in zip(versions, person.drawn, strict=True):
            version.drawn, version.output = [drawn], drawn.output
            version.portrait, version.identity = person.portrait, name
    for version in versions:
        version.watch.milliseconds.update(watch.milliseconds)
    return versions


def _proposals(
    subjects: list[Subject],
    patients: _Patients,
    case: Case,
    tools: _Tools,
    source: Source,
) -> Iterator[Proposal]:
    """People to try, by the method asked for."""
    bundle = tools.bundle
    if case.settings.method == "margin":
        parts = parts_of(case.settings)
        moved = movable(subjects, patients.latents, parts, case.settings)
        return propose_moved(moved, bundle, tools.engines, source.words)
    kept = [subject.kept_classes for subject in subjects]
    settings, bank = case.settings, bundle.identities
    return propose(patients.latents, patients.wanted, kept, bank, source, settings)


def _replace_bystanders(version: Version, number: int, case: Case, tools: _Tools) -> None:
    """Gives every other face of a photograph a person of its own."""
    work = version.work
    if version.refusal is not None:
        return
    own = () if number == 0 else (number,)
    engines, bundle = tools.engines, tools.bundle
    secret = case.key.words() if case.key else (case.seed,)
    settings = replace(case.settings, hair="keep", background="keep")
    for i, face in enumerate(work.faces[1:], start=1):
        with version.watch.stage("bystanders"):
            if len(work.bystanders) < i:
                suited = InversionConfig.suited(bundle, case.settings.steps)
                config = replace(suited, steps=-(-suited.steps // _BYSTANDER_SHARE))
                size = work.image.shape[:2]
                found = invert(
                    [face], [size], engines, bundle, config, _ignore, evaluator=tools.evaluator
                )
                work.bystanders.append(found.latents)
            latents = work.bystanders[i - 1]
            seed = (*secret, work.number, i, *own)
            proposals = propose(
                latents,
                appearance([face], latents),
                [()],
                bundle.identities,
                Source(seed),
                settings,
            )
            subject = work.subject(i, version.output)
            person = draw_faces([subject], proposals, seed, engines, bundle, tools.gate)
        version.output = person.drawn[0].output
        # One image for all of them: each face that is replaced makes another one of full size.
        version.drawn = [
            replace(one, output=version.output) for one in (*version.drawn, *person.drawn)
        ]


def _final_gate(version: Version, engines: Engines, gate: Gate) -> None:
    """Checks every kept pixel, and every face again if one was replaced after the patient's."""
    work = version.work
    if version.refusal is not None:
        return
    with version.watch.stage("gate"):
        version.kept_report = check_kept(work.original, version.output, work.kept)
        if len(work.faces) == 1:
            return
        found = detect(detector(engines), version.output)
        for i, drawn in enumerate(version.drawn):
            check = check_face(version.output, work.subject(i), found, engines, gate)
            refused = gate.refusal(check)
            if refused is not None:
                raise refused
            version.drawn[i] = Drawn(version.output, check, drawn.draws)


def _ignore(done: float) -> None:
    """Progress of a bystander's inversion, which is not told."""
