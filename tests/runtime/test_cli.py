import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import anonymize, images
from fake_anonymizer import FakeAnonymizer
from PIL import Image

from vera.bundle import load_bundle
from vera.cli import main
from vera.errors import EngineError

_FAKES = Path(__file__).parents[1] / "fakes"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Nothing to anonymise"),
        (["missing.png"], "Argument 1 does not exist"),
        (["PHOTO", "FOLDER"], "Argument 2 is a folder"),
        (["PHOTO", "--keep", "chin"], "'chin' is no region to keep"),
        (["PHOTO", "--keep", ""], "is no region to keep"),
        (["FOLDER"], "The output folder lies inside"),
        (["PHOTO", "--seed", "-1"], "seed"),
        (["PHOTO", "--seed", str(2**63)], "must be a whole number"),
        (["PHOTO", "--threads", "0"], "must be at least 1"),
        (["PHOTO", "--faces", "some"], "invalid choice"),
        (["PHOTO", "--format", "gif"], "invalid choice"),
    ],
)
def test_senseless_request_is_a_usage_error_and_nothing_is_written(
    photo, out, tmp_path, capsys, arguments, sentence
):
    places = {"PHOTO": str(photo), "FOLDER": str(tmp_path)}
    arguments = [places.get(argument, argument) for argument in arguments]
    assert anonymize(*arguments, "--out", out) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert "Traceback" not in told.err
    assert told.out == ""
    assert not out.exists()


def test_output_is_required(photo, capsys):
    assert anonymize(photo) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "below"])
def test_output_that_is_a_file_is_one_sentence(photo, tmp_path, capsys, below):
    (tmp_path / "file").write_text("mine")
    assert anonymize(photo, "--out", tmp_path / "file" / below) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert told.startswith("vera: '")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission_is_one_sentence(photo, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert anonymize(photo, "--out", tmp_path / "locked" / "out") == 1
    assert "may not be written; check its permissions" in capsys.readouterr().err


def test_output_on_a_file_system_that_takes_none_is_one_sentence(photo, capsys):
    assert anonymize(photo, "--out", "/proc/vera-out") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "parser.onnx").write_bytes(b"other"), "was changed or damaged"),
        (lambda folder: (folder / "parser.onnx").unlink(), "cannot be read"),
        (lambda folder: (folder / "manifest.json").unlink(), "There is no bundle here"),
        (
            lambda folder: (folder / "manifest.json").write_text(
                re.sub(r'"contract": \d+', '"contract": 99', (folder / "manifest.json").read_text())
            ),
            "another contract",
        ),
    ],
)
def test_bad_bundle_is_one_sentence_and_nothing_is_written(
    photo, out, bundle_folder, capsys, damage, sentence
):
    damage(bundle_folder)
    code = anonymize(photo, "--out", out, "--bundle", bundle_folder, open_anonymizer=None)
    assert code == 1
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_engine_error_is_one_line_and_a_traceback_only_with_debug(photo, out, capsys):
    def fail(number: int) -> None:
        raise EngineError("The engine broke; run vera check.")

    failing = lambda bundle, threads: FakeAnonymizer(before=fail)  # noqa: E731
    assert anonymize(photo, "--out", out, open_anonymizer=failing) == 1
    assert capsys.readouterr().err == "vera: The engine broke; run vera check.\n"
    assert anonymize(photo, "--out", out, "--debug", open_anonymizer=failing) == 1
    assert "Traceback" in capsys.readouterr().err


def test_error_that_is_not_ours_shows_no_detail_without_debug(photo, out, capsys):
    def fail(number: int) -> None:
        raise ZeroDivisionError("jane_doe")

    assert (
        anonymize(photo, "--out", out, open_anonymizer=lambda *_, **__: FakeAnonymizer(before=fail))
        == 1
    )
    told = capsys.readouterr().err
    assert "unexpected ZeroDivisionError" in told
    assert "jane_doe" not in told


def test_seed_is_echoed_in_the_report(photo, out):
    assert anonymize(photo, "--out", out, "--seed", 41) == 0
    assert json.loads((out / "anon_1.json").read_text())["seed"] == 41


def test_jpg_is_written_when_asked_for(photo, out):
    assert anonymize(photo, "--out", out, "--format", "jpg") == 0
    assert [path.name for path in images(out)] == ["anon_1.jpg"]


def test_folder_of_cases_prints_a_line_per_case_without_names(photo, out, tmp_path, capsys):
    cases = tmp_path / "cases"
    for name in ("anna", "ben"):
        (cases / name).mkdir(parents=True)
        Image.open(photo).save(cases / name / "front.png")
    (cases / "ben" / "torn.jpg").write_text("torn")
    assert anonymize(cases, "--out", out) == 3
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "case 1 of 2: 1 anonymized, 0 refused",
        "case 2 of 2: 1 anonymized, 1 refused",
        "case 2, photo 2: The photograph cannot be read.",
    ]
    assert re.search(
        r"photographs  3\nanonymized   2\nrefused      1 \(unreadable-photo\)", told.out
    )


def test_original_names_are_shown_only_when_asked_for(out, tmp_path, capsys):
    (tmp_path / "p.png").write_bytes(b"")
    anonymize(tmp_path / "p.png", "--out", out, "--names", "original")
    assert "p.png: The photograph cannot be read." in capsys.readouterr().err


def test_second_run_says_what_an_earlier_one_did(photo, out, capsys):
    anonymize(photo, "--out", out, "--seed", 1)
    capsys.readouterr()
    assert anonymize(photo, "--out", out, "--seed", 1) == 0
    assert "1 (1 of all by an earlier run)" in capsys.readouterr().out


def test_interruption_is_a_sentence_and_exit_130(photo, out, capsys):
    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    stopped = lambda bundle, threads: FakeAnonymizer(before=interrupt)  # noqa: E731
    assert anonymize(photo, "--out", out, open_anonymizer=stopped) == 130
    told = capsys.readouterr()
    assert told.err == (
        "vera: interrupted with 0 of 1 photographs done; the same command does the rest.\n"
    )
    assert images(out) == []


def test_ctrl_c_ends_the_process_cleanly_and_the_next_run_does_the_rest(photo, out, tmp_path):
    script = (
        "import signal, sys, time; sys.path.insert(0, sys.argv[1]); from vera.cli import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a background job ignores it
        "from fake_anonymizer import FakeAnonymizer;"
        "wait = lambda n: (print('working', flush=True), time.sleep(60)) if n == 2 else None;"
        "opened = lambda bundle, threads: FakeAnonymizer(before=wait);"
        "sys.exit(main(sys.argv[2:], open_anonymizer=opened))"
    )
    cases = tmp_path / "cases"
    for name in "ab":
        (cases / name).mkdir(parents=True)
        Image.open(photo).crop((0, 0, 50 + ord(name), 60)).save(cases / name / "p.png")
    command = [
        sys.executable,
        "-c",
        script,
        str(_FAKES),
        "anonymize",
        str(cases),
        "--out",
        str(out),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted with 1 of 2 photographs done" in told
    assert "Traceback" not in told
    assert len(images(out)) == 1
    assert anonymize(cases, "--out", out) == 0
    assert len(images(out)) == 2


def test_terminal_shows_a_bar_with_rate_and_time_left(photo, out, tmp_path):
    pty = pytest.importorskip("pty")
    cases = tmp_path / "cases"
    for name in "ab":
        (cases / name).mkdir(parents=True)
        Image.open(photo).crop((0, 0, 50 + ord(name), 60)).save(cases / name / "p.png")
    main_end, terminal = pty.openpty()
    command = [sys.executable, str(_FAKES / "fake_anonymizer.py"), "calls", "99", "anonymize"]
    command += [str(cases), "--out", str(out)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=terminal, check=False, timeout=60, env=environment
    )
    shown = os.read(main_end, 1 << 16).decode()
    os.close(terminal)
    os.close(main_end)
    assert done.returncode == 0
    assert "2/2 photos" in shown
    assert "per minute" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)
    assert "case 1 of 2" not in shown


@pytest.mark.parametrize("arguments", [["--help"], ["anonymize", "--help"], ["--version"]])
def test_help_and_version_end_well(arguments, capsys):
    assert main(arguments) == 0
    assert "vera" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["bundle"], ["nonsense"]])
def test_no_command_is_a_usage_error(arguments, capsys):
    assert main(arguments) == 2
    assert "usage: vera" in capsys.readouterr().err


def test_bundle_show_tells_what_a_bundle_holds(bundle_folder, capsys):
    assert main(["bundle", "show", str(bundle_folder)]) == 0
    told = capsys.readouterr().out
    for word in (
        "fake 0",
        "cosine below 0.800; invented",
        "generator_backward.onnx",
        "40 synthetic",
    ):
        assert word in told
    assert load_bundle(bundle_folder).hashes["parser"][:12] in told


def test_bundle_show_of_nothing_is_one_sentence(tmp_path, capsys):
    assert main(["bundle", "show", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("vera: There is no bundle here")
