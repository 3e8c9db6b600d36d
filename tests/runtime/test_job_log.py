"""The log of a run, the bar's figures and the summary."""

import json
import re

import pytest
from command_line import anonymize
from fake_anonymizer import FakeAnonymizer
from job_folder import NAMES, fail_at, write_photo

from vera.batch.display import Pace
from vera.batch.output import LOG_NAME
from vera.batch.summary import JobSummary, summary_lines
from vera.errors import OutputError


def log_of(out):
    return json.loads((out / LOG_NAME).read_text())


def test_log_tells_every_case_without_names(folder, out):
    assert anonymize(folder, "--out", out, "--variants", 2) == 3
    log = log_of(out)
    assert log["ended"] == "finished"
    assert (log["photos"], log["done"], log["anonymized"]) == (5, 5, 8)
    assert log["refused"] == {"unreadable-photo": 2}
    assert log["settings"]["variants"] == 2
    torn = log["cases"][2]
    assert torn["case"] == 3
    assert torn["outputs"] == [f"case_0003/anon_{n}{v}" for v in ("", "_v2") for n in (1, 2)]
    assert torn["verdicts"] == ["anonymized", "refused"] * 2
    assert torn["reasons"] == [None, "unreadable-photo"] * 2
    text = (out / LOG_NAME).read_text()
    assert not [word for word in (*NAMES, "patients", "front", "before") if word in text]


def test_log_of_a_second_run_says_what_was_resumed(folder, out):
    for _ in range(2):
        anonymize(folder, "--out", out, "--seed", 1)
    assert [case["resumed"] for case in log_of(out)["cases"]] == [True, True, True]
    assert log_of(out)["resumed"] == 5


@pytest.mark.parametrize(
    ("error", "code", "ended", "sentence"),
    [
        (KeyboardInterrupt(), 130, "interrupted", None),
        (OutputError("The disk is full."), 1, "failed", "The disk is full."),
    ],
)
def test_log_of_a_run_that_broke_off_tells_why_and_what_was_done(
    folder, out, error, code, ended, sentence
):
    def opened(bundle, threads):
        return FakeAnonymizer(before=fail_at(2, error))

    assert anonymize(folder, "--out", out, open_anonymizer=opened) == code
    log = log_of(out)
    assert (log["ended"], log["error"], log["done"]) == (ended, sentence, 2)
    assert len(log["cases"]) == 1


def test_log_holds_neither_secret_nor_case_id(folder, out, tmp_path):
    (tmp_path / "secret").write_text("a secret of more than sixteen bytes")
    (tmp_path / "secret").chmod(0o600)
    anonymize(folder, "--out", out, "--secret", tmp_path / "secret")
    assert log_of(out)["keyed"] is True
    text = (out / LOG_NAME).read_text()
    assert not [word for word in (*NAMES, "sixteen") if word in text]


def test_log_that_cannot_be_written_is_one_sentence(photo, out, tmp_path, capsys):
    (tmp_path / "log.json").mkdir()
    assert anonymize(photo, "--out", out, "--log", tmp_path / "log.json") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("vera: '")


def test_example_of_the_documentation_has_the_fields_of_a_log(folder, out, request):
    anonymize(folder, "--out", out)
    text = (request.config.rootpath / "docs/batch.md").read_text("utf-8")
    example = json.loads(re.search(r"```json\n(.+?)```", text, re.S)[1])
    log = log_of(out)
    assert list(example) == list(log)
    assert list(example["cases"][0]) == list(log["cases"][0])
    assert list(example["settings"]) == list(log["settings"])


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_is_that_of_the_photographs_left_at_the_pace_so_far():
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.time_left() == "-:--:--"
    clock.now += 60
    pace.finish(2, resumed=False)
    assert pace.per_minute() == pytest.approx(2)
    assert pace.time_left() == "0:04:00"
    assert pace.time_left(begun=1) == "0:02:20"


def test_resumed_photographs_say_nothing_about_the_pace():
    clock = Clock()
    pace = Pace(10, clock)
    clock.now += 1000  # to find out that they are done
    pace.finish(6, resumed=True)
    clock.now += 30
    pace.finish(1, resumed=False)
    assert (pace.total, pace.worked) == (4, 1)
    assert pace.per_minute() == pytest.approx(2)
    assert pace.time_left() == "0:01:30"


def test_summary_tells_variants_and_the_median_of_each_stage(tmp_path):
    summary = JobSummary(photos=3, done=3, variants=2, anonymized=6, seconds=60.0)
    for stage, times in {"invert": [100.0, 300.0, 900.0], "gate": [5.0]}.items():
        summary.stages[stage] += times
    lines = summary_lines(summary, tmp_path)
    assert lines[0] == "photographs  3, 2 new identities each"
    assert lines[1] == "anonymized   6"
    assert "median ms    invert 300, gate 5" in lines
    assert "3.0 photos per minute" in "\n".join(lines)


def test_refusal_of_all_identities_is_told_once(out, tmp_path, capsys):
    write_photo(tmp_path / "cases/a/front.png", 1)
    (tmp_path / "cases/a/torn.png").write_bytes(b"")
    anonymize(tmp_path / "cases", "--out", out, "--variants", 3)
    assert capsys.readouterr().err.splitlines() == [
        "case 1 of 1: 3 anonymized, 3 refused",
        "case 1, photo 2: The photograph cannot be read.",
    ]
