"""A server that is killed in the middle of inversions: those who give up, and those who wait."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from client_program import Ended, Program, vera_command
from real_triton import RealTriton

import vera
from vera.batch.journal import JOURNAL_NAME
from vera.batch.output import LOG_NAME
from vera.client.connection import Connection
from vera.client.failures import LostError
from vera.errors import BusyError, DeadlineError, VeraError

LONG, STEPS = 400, 15
PATIENT = {"retries": 60, "retry_budget": 60, "backoff_s": 0.1}


@dataclass
class Scene:
    """What came of a kill and a new start.

    Attributes:
        wanted: Image of the patient clients' case on a server that nothing happens to.
        impatient: The command without retries.
        left: What it left in its output folder.
        patient: Images that clients with retries got, by their scheme.
        again: The second server, which runs.
        logs: Of the two servers.
    """

    wanted: bytes
    impatient: Ended
    left: list[str]
    patient: dict[str, bytes]
    again: RealTriton
    logs: list[str]


@pytest.fixture(scope="module")
def scene(rendered, started, photo_file, tmp_path_factory) -> Scene:
    """One kill for all tests: starting a server for each would take long."""
    folder = tmp_path_factory.mktemp("scene")
    repository = rendered(slots=3, queue=3, threads=2)
    server = started(repository)
    wanted = Patient("grpc", server, photo_file)
    wanted.ended()
    command = impatient(server, photo_file, folder)
    server.until(lambda told: told["vera_active_slots"] == 1)
    clients = [Patient(scheme, server, photo_file) for scheme in ("grpc", "http")]
    assert all(client.begun.wait(30) for client in clients)
    server.until(lambda told: told["vera_active_slots"] == 3)
    server.kill()
    ended = Ended.of(command)
    left = sorted(path.name for path in (folder / "out").rglob("*"))
    again = started(repository, ports=server.ports)
    images = {client.scheme: client.ended() for client in clients}
    return Scene(wanted.ended(), ended, left, images, again, [server.lines(), again.lines()])


class Patient:
    """A client with one case, which it sends again if it has to."""

    def __init__(self, scheme: str, server: RealTriton, photo: bytes) -> None:
        self.scheme, self.begun = scheme, threading.Event()
        url = f"grpc://{server.grpc}" if scheme == "grpc" else server.http
        self._client = vera.Anonymizer(connection=Connection(url, **PATIENT))
        self._job = self._client.submit([photo], seed=7, steps=STEPS, progress=self._told)

    def ended(self) -> bytes:
        """The image."""
        (result,) = self._job.result(120)
        self._client.close()
        return result.image.tobytes()

    def _told(self, stage: str, _: float) -> None:
        if stage == "invert":
            self.begun.set()


def impatient(server: RealTriton, photo: bytes, folder: Path) -> Program:
    """A command that takes long, and does not ask twice."""
    file = folder / "jane_doe.png"
    file.write_bytes(photo)
    url = f"grpc://{server.grpc}"
    return vera_command(
        *("anonymize", file, "--out", folder / "out", "--url", url),
        *("--steps", LONG, "--retries", 0),
    )


def test_without_retries_the_command_fails_in_one_sentence(scene):
    assert scene.impatient.code == 1
    (sentence,) = scene.impatient.error.splitlines()
    assert sentence.startswith("vera: The server at grpc://127.0.0.1:")
    assert sentence.endswith("; check that it runs and try again.")
    assert "jane" not in scene.impatient.out + scene.impatient.error


def test_a_case_that_was_lost_leaves_no_image_and_no_report(scene):
    assert scene.left == sorted((JOURNAL_NAME, LOG_NAME))


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_with_retries_the_case_is_done_as_if_nothing_had_happened(scene, scheme):
    assert scene.patient[scheme] == scene.wanted


def test_each_case_was_done_once(scene):
    done = [log.count('"verdict": "anonymized"') for log in scene.logs]
    assert done == [1, len(scene.patient)]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_case_that_is_cancelled_while_its_server_is_away_ends_at_once(scene, scheme, photo_file):
    url = f"{scheme}://127.0.0.1:9"
    with vera.Anonymizer(connection=Connection(url, **{**PATIENT, "backoff_s": 30.0})) as client:
        job = client.submit([photo_file], steps=1)
        job.cancel()
        with pytest.raises(VeraError, match="was cancelled"):
            job.result(5)


def test_clients_of_a_model_that_was_killed_alone_get_an_error(scene, photo_file):
    """Last: Triton 2.51 does not start the model again, and mostly says that all is well.

    At times it crashes when it comes upon what the model left; `vera serve` ends it in any case.
    """
    url = f"grpc://{scene.again.grpc}"
    begun = threading.Event()
    with vera.Anonymizer(connection=Connection(url, retries=0)) as client:
        job = client.submit(
            [photo_file], steps=LONG, deadline=6, progress=lambda stage, _: begun.set()
        )
        assert begun.wait(20)
        (model,) = scene.again.model_processes()
        os.kill(model, signal.SIGKILL)
        with pytest.raises((BusyError, LostError)):
            client.anonymize([photo_file], steps=1)
        # Nobody tells the client if the server goes on; without a deadline it would wait long.
        with pytest.raises((DeadlineError, LostError)):
            job.result(20)
