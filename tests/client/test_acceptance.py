"""What a hostile or broken server could send is not taken for the result of a case."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from triton_stand_in import BUNDLE, SERVER, served

from vera.client.acceptance import Terms, accepted
from vera.client.failures import MisfitError, repeatable
from vera.client.typed import fits
from vera.key import CaseKey
from vera.report import BundleReport, CoverageReport, FaceReport, JudgeReport, KeptReport
from vera.settings import Settings
from vera.wire.event import ResultEvent
from vera.wire.request import WirePhoto, WireRequest

SIDE = 40
FACE = FaceReport(
    (20, 30), 12.5, 0.1, 0.8, 1, True, limit=0.77, coverage=CoverageReport(500, 0, 0.0)
)
NAN = float("nan")


def drawn(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """An image of nobody."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def asked(photos=None, **changes) -> WireRequest:
    """One photograph as pixels, or these."""
    photos = photos or [WirePhoto(drawn().tobytes(), shape=(SIDE, SIDE, 3))]
    return WireRequest(**{"seed": 5, "images": "raw", "persons": True, **changes, "photos": photos})


def answers(request: WireRequest) -> list[ResultEvent]:
    """What a good server tells."""
    return [event for event in served(request, None) if isinstance(event, ResultEvent)]


def refused(event: ResultEvent, request: WireRequest, why: str) -> None:
    with pytest.raises(MisfitError, match=r"^The server's answer does not fit the case \(") as told:
        accepted(event, Terms(request, SERVER))
    assert why in str(told.value)
    assert not repeatable(told.value)


def with_pixels(event: ResultEvent, image: np.ndarray) -> ResultEvent:
    return replace(event, image=image.tobytes(), shape=image.shape)


def generated(request: WireRequest) -> np.ndarray:
    """The image of a good answer, to be spoilt."""
    (event,) = answers(request)
    return np.frombuffer(event.image, np.uint8).reshape(event.shape).copy()


@pytest.mark.parametrize(
    "request_",
    [
        asked(),
        asked(images="png"),
        asked([WirePhoto(encoded(drawn())), WirePhoto(encoded(drawn(1)), "mouth,eyes")]),
        asked([WirePhoto(encoded(drawn(), "JPEG"), "polygon:1,2 30,3 7,38")]),
        asked([WirePhoto(encoded(drawn()), mask=encoded(np.eye(SIDE, dtype=np.uint8) * 255))]),
        asked(settings=Settings(variants=3), seed=2**63 - 1),
        asked(seed=None, key=CaseKey(bytes(32), "A-17").derived()),
        asked([WirePhoto(b"")]),
    ],
    ids=["pixels", "png", "pair", "polygon", "mask", "variants", "key", "unreadable"],
)
def test_what_a_good_server_sends_is_taken(request_):
    for event in answers(request_):
        image = accepted(event, Terms(request_, SERVER))
        assert (image is None) == (event.report.verdict == "refused")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"verdict": "done"}, "fields are not what they should be"),
        ({"verdict": "refused"}, "a verdict that its image contradicts"),
        ({"photo": 2}, "another photo"),
        ({"variant": 2}, "another variant"),
        ({"variants": 2}, "another variants"),
        ({"mode": "paired"}, "another mode"),
        ({"seed": 6}, "another seed"),
        ({"settings": {}}, "another settings"),
        ({"settings": {**Settings().options(), "faces": "largest"}}, "another settings"),
        ({"keep": ("mouth",)}, "another keep"),
        ({"bundle": BundleReport("fake", "1", BUNDLE.engines)}, "another bundle"),
        ({"bundle": BundleReport("fake", "0", {})}, "another bundle"),
        ({"versions": {"vera": "1"}}, "another version of vera"),
        ({"format": 1}, "another format"),
        ({"reason": "no-face"}, "a reason to refuse it"),
        ({"identity": "Jane Doe"}, "no digest"),
        ({"pair_cosines": (1.5,)}, "a cosine that is none"),
        ({"kept": KeptReport(0, 1)}, "a kept region that was changed"),
        ({"kept": KeptReport(0, 0, lossy=True)}, "a kept region that was changed"),
        ({"kept": KeptReport(-1)}, "a kept region that was changed"),
    ],
)
def test_a_report_of_something_else_is_not_taken(changes, why):
    request = asked()
    (event,) = answers(request)
    refused(replace(event, report=replace(event.report, **changes)), request, why)


@pytest.mark.parametrize(
    ("faces", "why"),
    [
        ((), "one patient's face"),
        ((FACE, FACE), "one patient's face"),
        ((replace(FACE, patient=False),), "one patient's face"),
        ((replace(FACE, identity_cosine=NAN),), "fields"),
        ((replace(FACE, identity_cosine=0.78),), "too much like the original"),
        ((replace(FACE, identity_cosine=0.9, limit=0.95),), "too much like the original"),
        ((replace(FACE, limit=1.0, threshold=1.0),), "too much like the original"),
        ((FACE, replace(FACE, patient=False, identity_cosine=0.9)), "too much like"),
        ((replace(FACE, judges=(JudgeReport("j", "0", 0.5, 0.3),)),), "too much like"),
        ((replace(FACE, coverage=None),), "without the proof"),
        ((replace(FACE, coverage=CoverageReport(0, 0, 0.0)),), "without the proof"),
        ((replace(FACE, coverage=CoverageReport(500, 100, 0.2)),), "without the proof"),
        ((replace(FACE, coverage=CoverageReport(500, 100, 0.0)),), "without the proof"),
        ((replace(FACE, coverage=CoverageReport(500, -1, 0.0)),), "without the proof"),
    ],
)
def test_a_face_that_did_not_pass_the_gate_is_not_taken(faces, why):
    request = asked()
    (event,) = answers(request)
    refused(replace(event, report=replace(event.report, faces=faces)), request, why)


@pytest.mark.parametrize("index", [-1, 1])
def test_a_result_of_no_photograph_is_not_taken(index):
    request = asked()
    (event,) = answers(request)
    refused(replace(event, index=index), request, "1 results instead of 1")


def test_a_result_in_another_s_place_is_not_taken():
    request = asked([WirePhoto(encoded(drawn())), WirePhoto(encoded(drawn(1)))])
    first, second = answers(request)
    refused(replace(second, index=0), request, "another photo")
    refused(replace(first, report=second.report), request, "another photo")


@pytest.mark.parametrize(
    "person",
    [None, np.zeros(8, np.float32), np.full(8, NAN, np.float32), np.ones((2, 4), np.float32)],
    ids=["none", "zero", "NaN", "two"],
)
def test_an_image_needs_its_new_person(person):
    request = asked()
    (event,) = answers(request)
    refused(replace(event, person=person), request, "without its new person")


def test_a_new_person_of_another_size_than_those_to_avoid_is_not_taken():
    request = asked(people=np.ones((2, 9), np.float32))
    (event,) = answers(request)
    refused(event, request, "another bundle")


def test_the_photograph_itself_is_not_taken():
    request = asked()
    (event,) = answers(request)
    refused(with_pixels(event, drawn()), request, "the photograph itself")


def test_a_photograph_that_was_merely_compressed_again_is_not_taken():
    smooth = np.linspace(0, 255, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)
    sent = encoded(smooth, "JPEG", quality=95)
    request = asked([WirePhoto(sent)])
    (event,) = answers(request)
    again = np.array(Image.open(io.BytesIO(sent)))
    again[::2] ^= 1  # another decoder's last bits
    refused(with_pixels(event, again), request, "the photograph itself")


def test_less_changed_than_the_face_is_not_taken():
    request = asked()
    (event,) = answers(request)
    image = drawn()
    image[0, :9] ^= 255
    refused(with_pixels(event, image), request, "less changed than the report says")


def test_another_photograph_of_the_same_size_is_not_taken():
    request = asked()
    (event,) = answers(request)
    face = replace(FACE, box=(15, 17), coverage=CoverageReport(150, 0, 0.0))
    spoilt = replace(event, report=replace(event.report, faces=(face,)))
    refused(with_pixels(spoilt, drawn(7)), request, "another photograph")


def test_fewer_kept_pixels_than_told_are_not_taken():
    request = asked()
    (event,) = answers(request)
    spoilt = replace(event, report=replace(event.report, kept=KeptReport(SIDE * SIDE - 100)))
    refused(spoilt, request, "more changed than the report says")


@pytest.mark.parametrize("keep", ["mask", "polygon:0,0 9,0 9,9 0,9"])
def test_a_changed_pixel_in_a_mask_or_polygon_is_not_taken(keep):
    painted = np.zeros((SIDE, SIDE), np.uint8)
    painted[:10, :10] = 255
    photo = WirePhoto(encoded(drawn()), keep)
    if keep == "mask":
        photo = WirePhoto(photo.data, "none", encoded(painted))
    request = asked([photo])
    (event,) = answers(request)
    image = generated(request)
    assert accepted(event, Terms(request, SERVER)) is not None
    image[9, 9, 2] ^= 1
    refused(with_pixels(event, image), request, "a kept region that was changed")
    less = replace(event.report, kept=KeptReport(99))
    refused(replace(event, report=less), request, "less kept than was asked for")


@pytest.mark.parametrize("side", [SIDE - 1, 2])
def test_an_image_of_another_size_is_not_taken(side):
    request = asked()
    (event,) = answers(request)
    refused(with_pixels(event, drawn(side=side)), request, "another size than the photograph")


def test_a_turned_photograph_is_expected_upright():
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = np.ascontiguousarray(drawn()[:30])
    request = asked([WirePhoto(encoded(wide, "JPEG", exif=turned))])
    (event,) = answers(request)
    assert event.shape == (SIDE, 30, 3)
    assert accepted(event, Terms(request, SERVER)).shape == (SIDE, 30, 3)
    refused(with_pixels(event, wide), request, "another size")


@pytest.mark.parametrize("shape", [(300, 300, 3), (256, 512, 3), (2048, 2048, 3), (256, 256, 4)])
def test_a_crop_is_one_of_three_squares(shape):
    request = asked(settings=Settings(frame="crop"))
    (event,) = answers(request)
    good = with_pixels(event, np.zeros((256, 256, 3), np.uint8))
    assert accepted(good, Terms(request, SERVER)).shape == (256, 256, 3)
    refused(with_pixels(event, np.zeros(shape, np.uint8)), request, "no square of a face")


def test_a_png_is_looked_at_before_it_is_decoded():
    request = asked(images="png")
    (event,) = answers(request)
    bomb = bytearray(encoded(drawn()))
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    for data, why in (
        (bytes(bomb), "does not have its shape"),
        (encoded(drawn(side=3)), "does not have its shape"),
        (encoded(drawn(), "JPEG"), "no PNG file"),
        (b"", "no PNG file"),
        (encoded(drawn())[:100], "cannot be decoded"),
    ):
        refused(replace(event, image=data), request, why)
    refused(replace(event, shape=None), request, "without a shape")
    refused(event, asked(), "does not have its shape")  # where pixels were asked for


def test_what_was_never_sent_or_cannot_be_read_has_no_image():
    (event,) = answers(asked())
    for data, why in ((b"", "that was not sent"), (b"no image", "that cannot be read")):
        refused(event, asked([WirePhoto(data)]), why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reason": None}, "without a reason"),
        ({"reason": "Jane Doe"}, "without a reason"),
        ({"message": None}, "without a reason"),
    ],
)
def test_a_refusal_says_why(changes, why):
    request = asked([WirePhoto(b"")])
    (event,) = answers(request)
    refused(replace(event, report=replace(event.report, **changes)), request, why)
    refused(replace(event, person=np.ones(8, np.float32)), request, "a refusal with a result")


@pytest.mark.parametrize(
    "changes",
    [
        {"message": {"a": 1}},
        {"seed": True},
        {"seed": 10**400},
        {"keep": "mouth"},
        {"faces": ({},)},
        {"warnings": (1,)},
        {"milliseconds": {"find": NAN}},
        {"milliseconds": {"find": 10**400}},
        {"faces": (replace(FACE, box=(1, 2, 3)),)},
        {"faces": (replace(FACE, identity_cosine="0.1"),)},
        {"variant_cosines": (float("inf"),)},
    ],
)
def test_a_report_is_what_its_types_say(changes):
    request = asked()
    (event,) = answers(request)
    assert fits(event, ResultEvent)
    refused(replace(event, report=replace(event.report, **changes)), request, "fields")
