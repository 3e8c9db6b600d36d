"""What comes back from a server is what a case in process gives."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from triton_stand_in import ROWS, SERVER, pretended, served

from vera.case.request import CaseRequest
from vera.client.connection import Connection
from vera.client.outgoing import checked, outgoing
from vera.client.remote import RemoteCases
from vera.errors import CancelledError, ServerError, UsageError
from vera.key import CaseKey
from vera.settings import Settings


@pytest.fixture
def files(tmp_path: Path, image) -> dict[str, Path]:
    photo, mask = tmp_path / "jane_doe.png", tmp_path / "jane_mask.png"
    Image.fromarray(image).save(photo)
    painted = np.zeros(image.shape[:2], np.uint8)
    painted[:20, :20] = 255
    Image.fromarray(painted).save(mask)
    broken = tmp_path / "jane_broken.jpg"
    broken.write_bytes(b"no image")
    return {"photo": photo, "mask": mask, "broken": broken, "gone": tmp_path / "jane_gone.jpg"}


def in_process(asked: CaseRequest):
    return pretended(asked.open(), asked.people)


def assert_equal(results, expected):
    assert [result.report for result in results] == [one.report for one in expected]
    for result, one in zip(results, expected, strict=True):
        for mine, other in ((result.image, one.image), (result.person, one.person)):
            assert (mine is None) == (other is None)
            assert mine is None or np.array_equal(mine, other)
            assert mine is None or mine.dtype == other.dtype


def test_files_arrays_and_bytes_give_what_they_give_in_process(stand_in, over, cases, files, image):
    photos = [files["photo"], str(files["photo"]), files["photo"].read_bytes(), image]
    asked = CaseRequest(photos, "mouth,eyes", 7, settings=Settings(variants=2))
    assert_equal(cases(over(stand_in)).run(asked), in_process(asked))


def test_every_kind_of_keep_arrives(stand_in, over, cases, files, image):
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[3:9, 4:8] = True
    points = np.array([[1.5, 2.0], [30.123456789, 3.0], [7.0, 38.0]])
    keeps = [files["mask"], str(files["mask"]), mask, points, "polygon:1,2 30,3 7,38", "none"]
    asked = CaseRequest([image] * len(keeps), keeps, 7)
    assert_equal(cases(over(stand_in)).run(asked), in_process(asked))


def test_what_cannot_be_read_is_refused_with_the_words_of_a_case_in_process(
    stand_in, over, cases, files, image, tmp_path
):
    empty = tmp_path / "jane_empty.png"
    empty.touch()
    photos = [files["gone"], files["broken"], tmp_path, empty, image, image]
    keeps = ["mouth", "mouth", "mouth", "mouth", files["gone"], files["broken"]]
    asked = CaseRequest(photos, keeps, 7)
    results = cases(over(stand_in)).run(asked)
    assert_equal(results, in_process(asked))
    reasons = [result.report.reason for result in results]
    assert reasons == ["unreadable-photo"] * 4 + ["unusable-mask"] * 2
    assert "does not exist" in results[0].report.message


def test_a_key_draws_the_same_and_the_secret_stays(stand_in, over, cases, image):
    asked = CaseRequest([image], key=CaseKey(b"secret of sixteen bytes", "Jane 1970"))
    assert_equal(cases(over(stand_in)).run(asked), in_process(asked))
    assert all(b"secret" not in sent and b"Jane" not in sent for sent in stand_in.sent)


def test_people_who_must_not_come_out_are_told_with_their_shape(stand_in, over, cases, image):
    people = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    asked = CaseRequest([image], seed=5, people=people)
    assert_equal(cases(over(stand_in)).run(asked), in_process(asked))
    assert np.array_equal(stand_in.cases()[0].people, people)


def test_nothing_that_is_sent_names_a_file(stand_in, over, cases, files, tmp_path):
    asked = CaseRequest([files["photo"], files["gone"]], [files["mask"], "mouth"], 7)
    cases(over(stand_in)).run(asked)
    assert stand_in.sent
    for sent in stand_in.sent:
        assert b"jane" not in sent.lower()
        assert str(tmp_path).encode() not in sent


def test_without_a_seed_one_is_drawn_here_and_told(stand_in, over, cases, image):
    first, second = (cases(over(stand_in)).run(CaseRequest([image])) for _ in range(2))
    seeds = [request.seed for request in stand_in.cases()]
    assert [first[0].report.seed, second[0].report.seed] == seeds
    assert len(set(seeds)) == 2


def test_progress_is_told_and_never_falls(stand_in, over, cases, asked):
    told = []
    cases(over(stand_in)).run(asked, lambda stage, done: told.append((stage, done)))
    assert told == [("find", 0.1), ("invert", 0.5)]


@pytest.mark.parametrize("images", ["png", "raw"])
def test_images_travel_as_asked(stand_in, over, cases, asked, images):
    results = cases(over(stand_in), images=images).run(asked)
    assert_equal(results, in_process(asked))
    assert stand_in.cases()[0].images == images


def test_the_bundle_is_the_server_s_and_goes_with_every_case(stand_in, over, cases, asked):
    client = cases(over(stand_in))
    assert client.bundle.digest == SERVER.bundle.digest
    assert client.bundle.engines == ("generator", "guide")
    client.run(asked)
    assert stand_in.cases()[0].bundle == SERVER.bundle.digest
    assert [request.task for request in stand_in.requests] == ["describe", "anonymize"]


def test_another_bundle_than_wanted_is_refused_before_a_case_is_sent(stand_in, asked):
    client = RemoteCases(Connection(stand_in.grpc_url), "cd" * 32)
    with pytest.raises(ServerError, match="bundle abababababab, not cdcdcdcdcdcd"):
        client.run(asked)
    assert stand_in.cases() == []
    client.close()


def test_a_deep_check_comes_as_rows(stand_in, over, cases):
    assert cases(over(stand_in)).check() == ROWS


def test_a_request_that_makes_no_sense_is_refused_without_a_server(image):
    client = RemoteCases(Connection("grpc://127.0.0.1:1"))
    for wrong in (
        CaseRequest([], seed=1),
        CaseRequest([image], "elbow", 1),
        CaseRequest([image], seed=-1),
        CaseRequest([image], ["mouth", "nose"], 1),
    ):
        with pytest.raises(UsageError) as here:
            client.run(wrong)
        with pytest.raises(UsageError) as there:
            wrong.open()
        assert str(here.value) == str(there.value)
    client.close()


def test_a_submitted_case_tells_when_it_is_done(stand_in, over, cases, asked):
    told = []
    job = cases(over(stand_in)).submit(asked)
    job.add_done_callback(told.append)
    assert_equal(job.result(10), in_process(asked))
    assert job.done()
    assert told == [job]


def test_a_closed_client_takes_no_more_cases(stand_in, over, cases, asked):
    client = cases(over(stand_in))
    client.close()
    client.close()
    with pytest.raises(CancelledError):
        client.run(asked)
    with pytest.raises(CancelledError):
        client.submit(asked)


def test_png_of_another_size_than_told_is_not_used(stand_in, cases, asked):
    def smaller(request, gone):
        for event in served(request, gone):
            if hasattr(event, "image"):
                encoded = io.BytesIO()
                Image.new("RGB", (3, 3)).save(encoded, "PNG")
                event = replace(event, image=encoded.getvalue())
            yield event

    stand_in.answer = smaller
    with pytest.raises(ServerError, match="does not have its shape"):
        cases(stand_in.grpc_url, images="png").run(asked)


def test_an_image_elsewhere_travels_as_png_and_here_as_pixels(image):
    asked = CaseRequest([image], seed=5)
    for url, shape in (("grpcs://elsewhere", None), ("http://localhost", (*image.shape[:2], 3))):
        sent = outgoing(asked, checked(asked), Connection(url), SERVER, progress=False)
        (photo,) = sent.request.photos
        assert photo.shape == shape
        opened = photo.image()
        if shape is None:
            opened = np.array(Image.open(io.BytesIO(opened)))
        assert np.array_equal(opened, image)


def test_more_than_one_message_carries_is_refused_before_it_is_sent(image):
    # Two thousand times the same million bytes: they are one object in memory.
    million = b"x" * 1_000_000
    asked = CaseRequest([million] * 2001, seed=5)
    server = replace(SERVER, limits=replace(SERVER.limits, photos=9999))
    with pytest.raises(UsageError, match="2001000000 bytes in all, more than the 2000000000"):
        outgoing(asked, checked(asked), Connection("grpcs://a"), server, progress=False)
