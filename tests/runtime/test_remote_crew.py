"""A folder job whose cases a server does: the same files, journal and order."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import images
from photo_reports import full_report
from PIL import Image
from triton_stand_in import SERVER, BreakOff, StandIn, pretended, served

from vera.batch.casework import CaseTask
from vera.batch.remote import RemoteCrew
from vera.case.request import CaseRequest, Result
from vera.cli import main
from vera.files.photo import read_photo
from vera.settings import Settings
from vera.wire.event import Progress, ResultEvent


@pytest.fixture
def server():
    with StandIn() as stand_in:
        yield stand_in


def anonymize(server: StandIn, *arguments: object) -> int:
    more = ["--url", server.grpc_url, "--retries", "0"]
    return main(["anonymize", *map(str, arguments), *more])


def contents(out: Path) -> dict[str, bytes]:
    """Images and reports; the journal has its own random key."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".png", ".json") and path.parent != out
    }


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Five cases of one photograph."""
    for number in range(5):
        folder = tmp_path / "people" / f"jane_{number}"
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "before.png")
    return tmp_path / "people"


def test_a_single_case_is_written_as_in_process(server, photo, out, capsys):
    assert anonymize(server, photo, "--keep", "mouth", "--seed", "7", "--out", out) == 0
    (expected,) = pretended(CaseRequest([photo], "mouth", 7).open())
    (written,) = images(out)
    assert np.array_equal(read_photo(written).image, expected.image)
    assert json.loads(written.with_suffix(".json").read_text())["seed"] == 7
    assert b"jane" not in b"".join(server.sent).lower()


def test_any_number_of_requests_at_once_gives_the_same_files(server, people, tmp_path):
    for workers in (1, 4):
        out = tmp_path / f"out_{workers}"
        assert anonymize(server, people, "--seed", 7, "--out", out, "--workers", workers) == 0
    assert len(contents(tmp_path / "out_1")) == 10
    assert contents(tmp_path / "out_1") == contents(tmp_path / "out_4")


def test_several_requests_are_in_work_at_once(server, people, out):
    together = threading.Barrier(3)

    def answer(request, gone):
        if len(server.cases()) <= 3:
            together.wait(10)
        yield from served(request, gone)

    server.answer = answer
    assert anonymize(server, people, "--out", out, "--workers", 3) == 0


def test_a_server_that_dies_ends_the_job_and_the_next_run_does_the_rest(
    server, people, out, capsys
):
    def dies(request, gone):
        if len(server.cases()) >= 2:
            yield Progress("invert", 0.5)
            raise BreakOff
        yield from served(request, gone)

    server.answer = dies
    assert anonymize(server, people, "--seed", 7, "--out", out) == 1
    assert "cannot be reached or was lost" in capsys.readouterr().err
    assert len(images(out)) == 1
    assert not [path for path in out.rglob("*") if path.name.startswith(".vera-")]
    done = contents(out)
    server.answer = served
    before = len(server.cases())
    assert anonymize(server, people, "--seed", 7, "--out", out) == 0
    assert len(server.cases()) == before + 4
    assert len(images(out)) == 5
    assert done.items() <= contents(out).items()


def of_version(version: str, begin: int = 0):
    """Answers of another VerA, from this case on."""
    cases = []

    def answer(request, gone):
        cases.append(request)
        for event in served(request, gone):
            if isinstance(event, ResultEvent) and len(cases) > begin:
                event = replace(event, report=replace(event.report, versions={"vera": version}))
            yield event

    return answer


def test_another_vera_at_the_server_does_the_cases_again(server, people, out):
    assert anonymize(server, people, "--seed", 7, "--out", out) == 0
    assert anonymize(server, people, "--seed", 7, "--out", out) == 0
    assert len(server.cases()) == 5
    server.server, server.answer = replace(SERVER, vera="1"), of_version("1")
    assert anonymize(server, people, "--seed", 7, "--out", out) == 0
    assert len(server.cases()) == 10


def test_a_server_that_is_updated_in_the_middle_ends_the_job(server, people, out, capsys):
    server.answer = of_version("1", begin=2)
    assert anonymize(server, people, "--seed", 7, "--out", out) == 1
    assert "a report of another version of vera" in capsys.readouterr().err
    assert len(images(out)) == 2


def test_a_job_takes_results_of_its_own_version_alone(tmp_path):
    report = full_report(versions={"vera": "2"})
    inner = SimpleNamespace(anonymize=lambda *photos, **options: [Result(None, report)])
    task = CaseTask((), (), tmp_path, (), "png", Settings(), report.bundle)
    with RemoteCrew(1, inner, version="1") as crew:
        outcome = crew.wait(crew.submit(task))
    assert "VerA changed while the job ran" in outcome.message


def test_nothing_of_an_answer_that_does_not_fit_is_written(server, photo, out, capsys):
    def gives_back(request, gone):
        for event in served(request, gone):
            if isinstance(event, ResultEvent):
                event = replace(event, image=bytes(24 * 24 * 3))
            yield event

    Image.new("RGB", (24, 24)).save(photo)
    server.answer = gives_back
    assert anonymize(server, photo, "--out", out) == 1
    assert "does not fit the case" in capsys.readouterr().err
    assert images(out) == []
    assert len(server.cases()) == 1


def test_another_machine_needs_encryption_or_leave_without_it(photo, out, capsys):
    there = ("--url", "grpc://203.0.113.1:1", "--retries", "0", "--deadline", "0.2")
    command = ["anonymize", str(photo), "--out", str(out), *there]
    assert main(command) == 2
    assert "can read and change photographs" in capsys.readouterr().err
    assert main([*command, "--plaintext"]) == 1


def test_a_restart_within_the_retries_is_not_noticed(server, people, out):
    def dies_once(request, gone):
        if len(server.cases()) == 2:
            raise BreakOff
        yield from served(request, gone)

    server.answer = dies_once
    arguments = ["anonymize", str(people), "--out", str(out), "--url", server.grpc_url]
    assert main([*arguments, "--retries", "2"]) == 0
    assert len(images(out)) == 5


def test_a_broken_off_job_cancels_what_the_server_does(server, people, out, capsys):
    def interrupted(request, gone):
        if len(server.cases()) == 2:
            # What a Ctrl-C raises, at the place where the job waits.
            import _thread

            _thread.interrupt_main()
            gone.wait(20)
            return
        yield from served(request, gone)

    server.answer = interrupted
    assert anonymize(server, people, "--out", out) == 130
    assert "interrupted with 1 of 5" in capsys.readouterr().err
    assert len(images(out)) == 1
    server.answer = served
    assert anonymize(server, people, "--out", out) == 0
    assert len(images(out)) == 5


def test_an_unreadable_photograph_is_refused_alone(server, people, out, capsys):
    (people / "jane_2" / "before.png").write_bytes(b"")
    assert anonymize(server, people, "--out", out) == 3
    assert len(images(out)) == 4
    assert "jane" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--url", "grpc://a", "--threads", "2"), "--threads does nothing with --url"),
        (("--url", "grpc://a", "--bundle", "b"), "--bundle does nothing with --url"),
        (("--url", "grpc://a", "--judge", "j.onnx"), "--judge does nothing with --url"),
        (("--retries", "2"), "--retries does nothing without --url"),
        (("--deadline", "2"), "--deadline does nothing without --url"),
        (("--tls-ca", "ca.pem"), "--tls-ca does nothing without --url"),
        (("--tls-cert", "c.pem"), "--tls-cert does nothing without --url"),
        (("--tls-key", "k.pem"), "--tls-key does nothing without --url"),
        (("--plaintext",), "--plaintext does nothing without --url"),
        (("--url", "grpc://a", "--header", "nothing"), "--header needs a name and a value"),
        (("--url", "grpc://a", "--header", "a:@/nowhere"), "file of a header cannot be read"),
        (("--url", "nowhere"), "no address of a server"),
    ],
)
def test_flags_that_do_not_fit_are_one_sentence(photo, out, capsys, flags, named):
    assert main(["anonymize", str(photo), "--out", str(out), *flags]) == 2
    assert named in capsys.readouterr().err


def test_headers_and_the_deadline_of_the_flags_are_sent(server, photo, out, tmp_path):
    (tmp_path / "token").write_text("Bearer x\n")
    flags = ["--header", "X-Clinic: seven", "--header", f"authorization:@{tmp_path / 'token'}"]
    assert anonymize(server, photo, "--out", out, "--deadline", 30, *flags) == 0
    assert server.metadata[0]["x-clinic"] == "seven"
    assert server.metadata[0]["authorization"] == "Bearer x"
    assert 0 < server.cases()[0].deadline_s <= 30


def test_check_asks_the_server(server, capsys):
    assert main(["check", "--url", server.http_url]) == 0
    told = capsys.readouterr().out
    assert "server inversion" in told
    assert "fake 0" in told
    assert "everything needed is there" in told


def test_check_of_nobody_is_one_sentence(capsys):
    assert main(["check", "--url", "grpc://127.0.0.1:1", "--retries", "0"]) == 1
    assert "cannot be reached" in capsys.readouterr().err
