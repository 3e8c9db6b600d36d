"""Whether an answer can be that of the case that was sent. What cannot is never used.

A server may be broken, or somebody may sit on the way to it: then a photograph could come back as
it was, or another case's result. Its report must say that everything held that holds in process,
and its image must agree with report and photograph as far as can be seen without engines. Who is on
it cannot be seen: that rests on the server and on an encrypted way to it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vera.client.failures import misfit
from vera.client.pictures import Image, SentPhoto, received, sent_photo
from vera.client.typed import fits
from vera.errors import PhotoError
from vera.face.frame import SIDES
from vera.files.photo import read_mask
from vera.gate.coverage import covered
from vera.pixels.strips import strips
from vera.report import REPORT_FORMAT, CoverageReport, FaceReport, PhotoReport
from vera.request.keep import Keep
from vera.versions import bundle_report
from vera.wire.event import ResultEvent
from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import ServerContract

_NAME = re.compile(r"[a-z][a-z-]*")  # the reason of a refusal
_DIGEST = re.compile(r"[0-9a-f]+")

_LOSSY = (b"\xff\xd8", b"RIFF")  # how JPEG and WebP files begin

# Of the pixels of the face that the server says to have replaced, so many must have changed at
# least: overexposed skin stays white, but all else is another. Sound outputs: 0.96 to 2.9.
_LEAST_CHANGED = 0.1

# And where the background stays, not more than so many times the square over the longer side of the
# face's box: nothing changes beyond the crop, which is three times as large. Sound outputs: 0.7 to
# 1.0, and with the hair up to 2.1.
_MOST_CHANGED = 5


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What an answer is held against.

    Attributes:
        request: The case as it was sent.
        server: What the server said of itself before.
    """

    request: WireRequest
    server: ServerContract

    @property
    def count(self) -> int:
        """How many results the case has."""
        return len(self.request.photos) * self.request.settings.variants


def accepted(event: ResultEvent, terms: Terms) -> Image | None:
    """The image of a result that can be that of the case.

    Args:
        event: A result as it came.
        terms: What was asked for, and of whom.

    Returns:
        uint8 [h, w, 3]; None if the photograph was refused.

    Raises:
        MisfitError: It cannot be.
    """
    if not fits(event, ResultEvent):
        raise misfit("a result whose fields are not what they should be")
    if event.count != terms.count or not 0 <= event.index < terms.count:
        raise misfit(f"{event.count} results instead of {terms.count}")
    variant, place = divmod(event.index, len(terms.request.photos))
    photo, report = terms.request.photos[place], event.report
    _check_asked(report, photo, (place + 1, variant + 1), terms)
    if (report.verdict == "anonymized") != (event.image is not None):
        raise misfit("a verdict that its image contradicts")
    if event.image is None:
        _check_refused(event)
        return None
    _check_faces(report)
    _check_person(event.person, terms.request.people)
    return _checked_image(event, event.image, photo, terms.request)


def _check_asked(
    report: PhotoReport, photo: WirePhoto, place: tuple[int, int], terms: Terms
) -> None:
    """That a report tells of this photograph, done as asked by the server that was asked."""
    request, server = terms.request, terms.server
    wanted = {
        "format": (report.format, REPORT_FORMAT),
        "photo": (report.photo, place[0]),
        "variant": (report.variant, place[1]),
        "variants": (report.variants, request.settings.variants),
        "mode": (report.mode, "paired" if len(request.photos) > 1 else "single"),
        "seed": (report.seed, request.seed or 0),  # with a key it is 0
        "settings": (dict(report.settings), dict(request.settings.options())),
        "keep": (report.keep, _kept_names(photo)),
        "bundle": (report.bundle, bundle_report(cast(Any, server.bundle))),
        "version of vera": (report.versions.get("vera"), server.vera),
    }
    for name, (told, expected) in wanted.items():
        if told != expected:
            raise misfit(f"a report of another {name}")


def _kept_names(photo: WirePhoto) -> tuple[str, ...]:
    if photo.mask is not None:
        return ("mask",)
    keep = Keep.parse(photo.keep, files=False)
    return ("polygon",) if keep.polygons else keep.regions


def _check_refused(event: ResultEvent) -> None:
    report = event.report
    if event.person is not None or event.shape is not None:
        raise misfit("a refusal with a result")
    if not _NAME.fullmatch(report.reason or "") or not report.message:
        raise misfit("a refusal without a reason")


def _check_faces(report: PhotoReport) -> None:
    """That an anonymised photograph has passed the gate, by its report."""
    if report.reason is not None or report.message is not None:
        raise misfit("an anonymized photograph with a reason to refuse it")
    if report.identity is not None and not _DIGEST.fullmatch(report.identity):
        raise misfit("a name of the new person that is no digest")
    if sum(face.patient for face in report.faces) != 1:
        raise misfit("an anonymized photograph without one patient's face")
    if not all(map(_is_another_person, report.faces)):
        raise misfit("a face that is too much like the original")
    if not all(_is_replaced(face.coverage) for face in report.faces):
        raise misfit("a face without the proof that it was replaced")
    cosines = (report.pair_cosines, report.pair_cosines_generated, report.variant_cosines)
    if any(abs(cosine) > 1.001 for several in cosines for cosine in several):
        raise misfit("a cosine that is none")
    if report.kept.max_difference != 0 or report.kept.lossy or report.kept.pixels_compared < 0:
        raise misfit("a kept region that was changed")


def _is_another_person(face: FaceReport) -> bool:
    # Both were rounded: one that passed by a hair stands there as equal.
    judged = all(judge.cosine <= judge.threshold for judge in face.judges)
    return -1.001 <= face.identity_cosine <= face.limit <= face.threshold < 1 and judged


def _is_replaced(coverage: CoverageReport | None) -> bool:
    if coverage is None or not 0 <= coverage.left <= coverage.face_pixels > 0:
        return False
    told = coverage.left / coverage.face_pixels
    return covered(coverage) and abs(told - coverage.share_left) <= 1e-4  # five digits


def _check_person(
    person: npt.NDArray[np.float32] | None, people: npt.NDArray[np.float32] | None
) -> None:
    """That there is somebody to compare other cases with."""
    sound = person is not None and person.ndim == 1 and person.dtype == np.float32
    if not sound or not np.isfinite(person).all() or not np.any(person):  # type: ignore[arg-type]
        raise misfit("an image without its new person")
    if people is not None and people.shape[1:] != cast(Any, person).shape:
        raise misfit("a new person of another bundle")


def _checked_image(
    event: ResultEvent, data: bytes, photo: WirePhoto, request: WireRequest
) -> Image:
    if not photo.data:
        raise misfit("an image of a photograph that was not sent")
    if event.shape is None:
        raise misfit("an image without a shape")
    settings, kept = request.settings, event.report.kept.pixels_compared
    if settings.frame == "crop":
        height, width, channels = event.shape
        if height not in SIDES or (width, channels) != (height, 3):
            raise misfit("an image that is no square of a face")
        if kept > height * width:
            raise misfit("more kept pixels than there are")
        return received(data, event.shape, request.images)
    sent = sent_photo(photo, settings.pixel_limit)
    if event.shape != sent.image.shape:
        raise misfit("an image of another size than the photograph")
    image = received(data, event.shape, request.images)
    _check_pixels(image, sent, photo, event.report)
    return image


def _check_pixels(image: Image, sent: SentPhoto, photo: WirePhoto, report: PhotoReport) -> None:
    """That the face was changed, and what is kept was not."""
    mask = _mask(photo, sent)
    changed = touched = 0
    for rows, differs in _differences(image, sent):
        changed += int(np.count_nonzero(differs))
        if mask is not None:
            touched += int(np.count_nonzero(differs & mask[rows]))
    if not changed:
        raise misfit("the photograph itself")
    if touched:
        raise misfit("a kept region that was changed")
    kept = report.kept.pixels_compared
    if mask is not None and kept < np.count_nonzero(mask):
        raise misfit("less kept than was asked for")
    pixels = image.shape[0] * image.shape[1]
    if pixels - changed < kept:
        raise misfit("more changed than the report says")
    proofs = [face.coverage for face in report.faces if face.coverage is not None]
    if changed < _LEAST_CHANGED * sum(proof.face_pixels - proof.left for proof in proofs):
        raise misfit("less changed than the report says")
    most = _MOST_CHANGED * sum(max(face.box) ** 2 for face in report.faces)
    if report.settings["background"] == "keep" and changed > most:
        raise misfit("another photograph")


def _mask(photo: WirePhoto, sent: SentPhoto) -> npt.NDArray[np.bool_] | None:
    """Pixels that are kept for certain, of a mask or polygons: bool [h, w]; None if unknown.

    They can grow by a margin, but never shrink. Of a lossy mask another decoder may see another
    edge.
    """
    height, width, _ = sent.image.shape
    try:
        if photo.mask is not None:
            mask = read_mask(photo.mask, (height, width))
            return None if photo.mask.startswith(_LOSSY) else mask
        keep = Keep.parse(photo.keep, files=False)
        return keep.polygon_mask((height, width)) if keep.polygons else None
    except PhotoError as error:
        raise misfit("an image although its mask cannot be used") from error


def _differences(image: Image, sent: SentPhoto) -> Iterator[tuple[slice, npt.NDArray[np.bool_]]]:
    """Strips of rows, and where they are not the photograph: bool [rows, w]."""
    for rows in strips(image.shape[0]):
        before, after = sent.image[rows], image[rows]
        far = np.where(after > before, after - before, before - after) > sent.tolerance
        yield rows, far[..., 0] | far[..., 1] | far[..., 2]
