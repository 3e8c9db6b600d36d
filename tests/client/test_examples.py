"""What docs/protocol.md shows works, without a line of VerA on the client's side."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from triton_stand_in import pretended, served

from vera.case.request import CaseRequest
from vera.errors import BusyError
from vera.files.photo import read_photo
from vera.wire import tensors

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "examples"


@pytest.fixture
def photo(tmp_path: Path, image) -> Path:
    Image.fromarray(image).save(tmp_path / "before.png")
    return tmp_path / "before.png"


def run(folder: Path, *command: object) -> subprocess.CompletedProcess:
    # Alone: nothing of this tree may be importable.
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_plain_client_writes_what_the_server_gave(stand_in, photo, tmp_path):
    target = stand_in.grpc_url.removeprefix("grpc://")
    done = run(
        tmp_path, sys.executable, _EXAMPLES / "plain_client.py", target, "mouth", photo, photo
    )
    assert done.returncode == 0, done.stderr
    (request,) = stand_in.requests
    expected = pretended(CaseRequest([photo, photo], "mouth", request.seed).open())
    for number, one in enumerate(expected, 1):
        assert (read_photo(tmp_path / f"anon_{number}.png").image == one.image).all()
    assert "find 10%" in done.stdout


def test_the_plain_client_writes_nothing_of_a_case_that_broke_off(stand_in, photo, tmp_path):
    stand_in.answer = lambda request, gone: iter(list(served(request, gone))[:-1])
    target = stand_in.grpc_url.removeprefix("grpc://")
    done = run(tmp_path, sys.executable, _EXAMPLES / "plain_client.py", target, "none", photo)
    assert done.returncode == 1
    assert "broke off" in done.stderr
    assert not list(tmp_path.glob("anon*"))


def test_the_plain_client_reads_on_after_an_error(stand_in, photo, tmp_path):
    def full(request, gone):
        raise BusyError("The queue is full; try again later.")
        yield

    stand_in.answer = full
    target = stand_in.grpc_url.removeprefix("grpc://")
    done = run(tmp_path, sys.executable, _EXAMPLES / "plain_client.py", target, "none", photo)
    assert done.returncode == 1
    assert "BusyError: The queue is full" in done.stderr
    assert stand_in.broken == 0
    assert not list(tmp_path.glob("anon*"))


def test_the_plain_client_knows_nothing_of_vera_and_is_short():
    text = (_EXAMPLES / "plain_client.py").read_text("utf-8")
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported <= {"grpc", "json", "pathlib", "secrets", "sys", "tritonclient"}
    assert len(text.splitlines()) < 70


@pytest.fixture
def by_curl(stand_in, photo, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    return lambda: run(
        tmp_path, "sh", _EXAMPLES / "anonymize.sh", stand_in.http_url, "mouth", photo
    )


def test_curl_writes_what_the_server_gave(stand_in, by_curl, photo, tmp_path):
    done = by_curl()
    assert done.returncode == 0, done.stderr
    assert stand_in.requests[0].photos[0].keep == "mouth"
    (request,) = stand_in.requests
    (expected,) = pretended(CaseRequest([photo], "mouth", request.seed).open())
    assert (read_photo(tmp_path / "anon.png").image == expected.image).all()
    assert request.deadline_s == 300


def test_curl_draws_a_seed_for_each_case(stand_in, by_curl):
    by_curl()
    by_curl()
    first, second = (request.seed for request in stand_in.requests)
    assert first != second


def test_curl_writes_nothing_after_an_error(stand_in, by_curl, tmp_path):
    def full(request, gone):
        raise BusyError("The queue is full; try again later.")
        yield

    stand_in.answer = full
    done = by_curl()
    assert done.returncode == 1
    assert "BusyError: The queue is full" in done.stderr
    assert not (tmp_path / "anon.png").exists()


def test_the_document_names_every_tensor_option_and_error(image):
    from dataclasses import fields

    from vera.settings import NAMES
    from vera.wire import failure
    from vera.wire.request import WirePhoto, WireRequest, to_tensors
    from vera.wire.server import Limits, ServedBundle, ServerContract

    text = (_ROOT / "docs/protocol.md").read_text("utf-8")
    named = set(re.findall(r"`([A-Za-z_0-9]+)`", text))
    assert {spec.name for spec in (*tensors.INPUTS, *tensors.OUTPUTS)} <= named
    options = to_tensors(WireRequest(photos=(WirePhoto(b""),)))["OPTIONS"][0]
    assert set(re.findall(r'"(\w+)":', options.decode())) - set(NAMES) <= named
    for described in (Limits, ServedBundle, ServerContract):
        assert {field.name for field in fields(described)} <= named
    assert set(failure._BY_NAME) <= named
    assert f"protocol {tensors.PROTOCOL}" in text
