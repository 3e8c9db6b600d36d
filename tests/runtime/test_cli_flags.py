"""Every flag of ``vera anonymize`` does something, and none is forgotten here."""

import io
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import anonymize, images
from fake_anonymizer import FakeAnonymizer
from job_folder import write_photo

from vera.batch.output import LOG_NAME
from vera.case.draw import SAME_PERSON
from vera.cli import main
from vera.key import CaseKey

SECRET = "a secret of more than sixteen bytes"


@dataclass
class Seen:
    """What came of a command.

    Attributes:
        code: Exit code.
        anonymizer: The one that was opened, with its calls.
        out: Output folder.
        log: The run's log.
        told: What was printed.
    """

    code: int
    anonymizer: FakeAnonymizer
    out: Path
    log: dict
    told: str

    @property
    def call(self) -> dict:
        return self.anonymizer.calls[0]


@pytest.fixture
def see(tmp_path, monkeypatch, capsys):
    """Runs ``vera anonymize`` in a folder that has what the flags name."""
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "cases/anna/front.png", 1)
    write_photo(tmp_path / "cases/ben/front.png", 2)
    photo = write_photo(tmp_path / "photo.png", 3)
    (tmp_path / "table.csv").write_text("case,photo\nanna,photo.png\n")
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)

    def run(*arguments) -> Seen:
        opened = []

        def remember(bundle, threads, judges=()):
            opened.append(FakeAnonymizer(bundle, threads=threads, judges=judges))
            return opened[-1]

        given = [] if set(arguments) & {"cases", "--cases", "-"} else [photo]
        code = anonymize(*given, *arguments, "--out", "out", open_anonymizer=remember)
        told = capsys.readouterr()
        logs = [path for path in (Path("out") / LOG_NAME, Path("elsewhere.json")) if path.exists()]
        log = json.loads(logs[0].read_text()) if logs else {}
        return Seen(code, opened[0], tmp_path / "out", log, told.out + told.err)

    return run


# Flag: its arguments, and what must then hold.
SETTINGS = {
    "--faces": (["largest"], "largest"),
    "--steps": (["9"], 9),
    "--pixel-limit": (["123456"], 123456),
    "--frame": (["crop"], "crop"),
    "--background": (["blur"], "blur"),
    "--hair": (["regenerate"], "regenerate"),
    "--preserve": (["age,skin-tone"], ("age", "skin-tone")),
    "--keep-margin": (["3px"], "3px"),
    "--variants": (["3"], 3),
    "--separation": (["0.25"], 0.25),
    "--method": (["margin"], "margin"),
}
OTHERS = {
    "--keep": (["eyes,brows"], lambda seen: seen.call["keep"] == ["eyes,brows"]),
    "--seed": (["5"], lambda seen: seen.call["seed"] == 5),
    "--threads": (["3"], lambda seen: seen.anonymizer.threads == 3),
    "--bundle": (["b"], lambda seen: seen.log["bundle"] == "digest of b"),
    "--format": (["jpg"], lambda seen: [p.name for p in images(seen.out)] == ["anon_1.jpg"]),
    "--names": (["original"], lambda seen: [p.name for p in images(seen.out)] == ["photo.png"]),
    "--cases": (["table.csv"], lambda seen: (seen.out / "case_0001/anon_1.png").exists()),
    "--out": (["out"], lambda seen: images(seen.out)),
    "--log": (["elsewhere.json"], lambda seen: not (seen.out / LOG_NAME).exists() and seen.log),
    "--distinct": ([], lambda seen: seen.log["distinct"] == SAME_PERSON),
    "--secret": (
        ["secret", "--case-id", "anna"],
        lambda seen: seen.call["key"] == CaseKey(SECRET.encode(), "anna"),
    ),
}
TESTED_BELOW = {
    "--case-id",
    "--debug",
    "--help",
    "--judge",
    "--judge-values",
    "--judge-threshold",
    "--overwrite",
    "--workers",  # in test_workers.py
}
# In test_remote_crew.py.
OF_A_SERVER = {"--url", "--retries", "--deadline", "--header"}
OF_A_SERVER |= {"--tls-ca", "--tls-cert", "--tls-key", "--plaintext"}


@pytest.mark.parametrize("flag", SETTINGS)
def test_setting_reaches_the_anonymizer(see, flag):
    values, expected = SETTINGS[flag]
    seen = see(flag, *values)
    name = flag.removeprefix("--").replace("-", "_")
    assert seen.code == 0, seen.told
    assert seen.call[name] == expected
    assert see().call[name] != expected


@pytest.mark.parametrize("flag", OTHERS)
def test_flag_does_what_it_says(see, flag):
    values, holds = OTHERS[flag]
    seen = see(flag, *values)
    assert seen.code == 0, seen.told
    assert holds(seen)


def test_no_flag_goes_without_a_test(capsys):
    assert main(["anonymize", "--help"]) == 0
    flags = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert flags == SETTINGS.keys() | OTHERS.keys() | TESTED_BELOW | OF_A_SERVER


def test_preserve_none_preserves_nothing(see):
    assert see("--preserve", "none").call["preserve"] == ()


def test_keep_may_be_given_once_for_each_photograph(see, tmp_path):
    second = write_photo(tmp_path / "second.png", 4)
    seen = see(second, "--keep", "mouth", "--keep", "eyes")
    assert seen.call["keep"] == ["mouth", "eyes"]


def test_overwrite_does_finished_cases_again(see):
    assert len(see("--seed", 1).anonymizer.calls) == 1
    assert len(see("--seed", 1).anonymizer.calls) == 0
    assert len(see("--seed", 1, "--overwrite").anonymizer.calls) == 1


def test_distinct_limit_is_the_separation_if_there_is_one(see):
    assert see("--distinct", "--separation", "0.25").log["distinct"] == 0.25


def test_debug_shows_the_traceback_of_a_failed_case(see, tmp_path):
    write_photo(tmp_path / "cases/breaking/front.png", 7)
    quiet = see("cases", "--seed", 1)
    assert quiet.code == 3
    assert "Traceback" not in quiet.told
    assert "Traceback" in see("cases", "--seed", 1, "--debug").told


def test_list_on_standard_input_is_read(see, monkeypatch):
    text = b"# people\ncases/anna\nphoto.png\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    seen = see("-")
    assert seen.code == 0
    assert seen.log["photos"] == 2


def write_judge(path: Path) -> Path:
    """A recogniser that tells colours."""
    from onnx import TensorProto, helper, save_model

    nodes = [
        helper.make_node("ReduceMean", ["face"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("Flatten", ["mean"], ["embedding"]),
    ]
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "judge", [face], [embedding])
    opset = helper.make_opsetid("", 13)
    save_model(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path


def test_judges_reach_the_anonymizer_with_their_own_threshold_and_values(see, tmp_path):
    judges = ["--judge", write_judge(tmp_path / "one.onnx")]
    judges += ["--judge", write_judge(tmp_path / "two.onnx")]
    values = ["--judge-values", "0..1", "--judge-values=-1..1"]
    seen = see(*judges, *values, "--judge-threshold", "0.4")
    told = [(judge.name, judge.values, judge.threshold) for judge in seen.anonymizer.judges]
    assert told == [("one", "0..1", 0.4), ("two", "-1..1", 0.4)]


def test_other_threshold_of_a_judge_does_the_case_again(see, tmp_path):
    judge = ["--judge", write_judge(tmp_path / "one.onnx"), "--judge-values", "0..1", "--seed", 1]
    assert len(see(*judge, "--judge-threshold", "0.4").anonymizer.calls) == 1
    assert len(see(*judge, "--judge-threshold", "0.4").anonymizer.calls) == 0
    assert len(see(*judge, "--judge-threshold", "0.3").anonymizer.calls) == 1


def test_secret_that_others_may_read_is_warned_of(see, tmp_path):
    (tmp_path / "secret").chmod(0o644)
    seen = see("--secret", "secret", "--case-id", "anna")
    assert seen.code == 0
    assert "other users may read the file of --secret" in seen.told


def test_white_space_that_an_editor_adds_to_the_secret_changes_nothing(see, tmp_path):
    (tmp_path / "secret").write_text(SECRET + "\r\n")
    assert see("--secret", "secret", "--case-id", "anna").call["key"].secret == SECRET.encode()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--secret", "nowhere", "--case-id", "a"], "of the secret cannot be read"),
        (["--secret", "short", "--case-id", "a"], "holds 5 bytes, fewer than the 16"),
        (["--secret", "secret"], "every case needs an id"),
        (["--secret", "secret", "--case-id", "a", "--seed", 1], "leave --seed out"),
        (["--case-id", "a"], "does nothing without --secret"),
        (["cases", "--secret", "secret", "--case-id", "a"], "have ids of their own"),
        (["--secret", "secret", "--case-id", " "], "needs a case id"),
        (["--keep", "mouth", "--keep", "eyes"], "Got 2 --keep for 1 photographs"),
        (["--judge-threshold", "0.4"], "Got 1 --judge-threshold for 0 --judge"),
        (["--judge-values", "0..255"], "Got 1 --judge-values for 0 --judge"),
        (["--variants", 99], "variants must be"),
        (["--separation", 2], "separation is a cosine"),
        (["--preserve", "gender"], "preserve takes"),
        (["--preserve", ""], "preserve takes"),
        (["--workers", 0], "must be at least 1"),
        (["--frame", "square"], "invalid choice"),
    ],
)
def test_senseless_flags_are_a_usage_error_and_nothing_is_written(
    photo, tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "short").write_text("short")
    write_photo(tmp_path / "cases/anna/front.png", 1)
    given = arguments if "cases" in arguments else [photo, *arguments]
    assert anonymize(*given, "--out", "out") == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--secret", "secret", "--case-id", "a"], []])
def test_method_that_cannot_work_is_told_before_the_first_photograph_is_read(
    see, monkeypatch, arguments
):
    sentence = "so a case key would not"
    if not arguments:
        monkeypatch.setattr("fake_anonymizer.ENGINES", ())
        sentence = "has no engine guide"
    seen = see("--method", "margin", *arguments)
    assert seen.code == 2
    assert sentence in seen.told
    assert seen.anonymizer.calls == []
    assert not seen.out.exists()


def test_folder_whose_name_is_no_text_is_told_when_a_secret_is_given(see, tmp_path, capsys):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "cases") + b"/j\xf6rg"))
    write_photo(folder / "front.png", 5)
    assert see("cases", "--seed", 1).code == 0
    assert anonymize("cases", "--secret", "secret", "--out", "keyed") == 2
    assert "Case 3 of the job: A case id must be UTF-8 text" in capsys.readouterr().err
    assert not (tmp_path / "keyed").exists()


def test_log_in_a_place_that_takes_none_is_found_before_the_work(photo, out, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert anonymize(photo, "--out", out, "--log", tmp_path / "file" / "log.json") == 1
    assert images(out) == []


def test_photograph_named_like_the_log_does_not_meet_it(tmp_path, out):
    photo = write_photo(tmp_path / "vera-log.png", 1)
    assert anonymize(photo, "--out", out, "--names", "original") == 0
    assert json.loads((out / LOG_NAME).read_text())["vera_log"] == 1
    assert [path.name for path in images(out)] == ["vera-log_2.png"]
