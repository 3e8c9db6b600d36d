import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_anonymizer import FakeAnonymizer
from job_folder import NAMES, config_of, fail_at, outputs, run, write_photo
from PIL import Image

from vera.batch.cases import collect_cases
from vera.batch.job import run_job
from vera.batch.journal import JOURNAL_NAME, Journal
from vera.batch.summary import JobSummary
from vera.batch.workers import OwnProcess
from vera.errors import OutputError
from vera.files.write import write_image

_FAKES = Path(__file__).parents[1] / "fakes"


def test_every_photo_gets_an_image_and_a_report_or_a_reason(folder, tmp_path):
    summary, _ = run(folder, tmp_path / "out")
    assert sorted(outputs(tmp_path / "out")) == [
        "case_0001/anon_1.json",
        "case_0001/anon_1.png",
        "case_0001/anon_2.json",
        "case_0001/anon_2.png",
        "case_0002/anon_1.json",
        "case_0002/anon_1.png",
        "case_0003/anon_1.json",
        "case_0003/anon_1.png",
        "case_0003/anon_2.json",
    ]
    assert (summary.photos, summary.anonymized, summary.done) == (5, 4, 5)
    assert summary.refused == {"unreadable-photo": 1}
    report = json.loads((tmp_path / "out/case_0003/anon_2.json").read_text())
    assert (report["verdict"], report["reason"]) == ("refused", "unreadable-photo")


def test_nothing_in_the_output_names_anybody(folder, tmp_path):
    run(folder, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in (*NAMES, "patients", "before", "after", "front", "torn"):
            assert word not in path.name
            assert word.encode() not in content


def test_journal_holds_no_plain_hash_of_a_photo(folder, tmp_path):
    from vera.batch.journal import content_digest

    run(folder, tmp_path / "out")
    journal = (tmp_path / "out" / JOURNAL_NAME).read_text()
    for photo in folder.rglob("*.png"):
        assert content_digest(photo).hex()[:16] not in journal


def test_journal_is_readable_by_its_owner_only(folder, tmp_path):
    run(folder, tmp_path / "out")
    assert (tmp_path / "out" / JOURNAL_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [False, True])
def test_journal_is_never_readable_by_others_not_even_until_its_mode_is_changed(
    tmp_path, monkeypatch, torn
):
    if torn:
        Journal.open(tmp_path)
        with (tmp_path / JOURNAL_NAME).open("a") as journal:
            journal.write('{"case": "0')
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    Journal.open(tmp_path)
    assert (tmp_path / JOURNAL_NAME).stat().st_mode & 0o777 == 0o600


def test_second_run_does_nothing(folder, tmp_path):
    run(folder, tmp_path / "out")
    before = outputs(tmp_path / "out")
    summary, anonymizer = run(folder, tmp_path / "out")
    assert anonymizer.calls == []
    assert (summary.resumed, summary.anonymized) == (5, 4)
    assert outputs(tmp_path / "out") == before


@pytest.mark.parametrize("error", [OutputError("full"), KeyboardInterrupt()])
def test_run_after_a_failure_in_the_middle_does_the_rest_only(folder, tmp_path, error):
    out = tmp_path / "out"
    with pytest.raises(type(error)):
        run(folder, out, FakeAnonymizer(before=fail_at(2, error)))
    assert {name.split("/")[0] for name in outputs(out)} == {"case_0001"}
    _, anonymizer = run(folder, out)
    assert [call["photos"][0].parent.name for call in anonymizer.calls] == list(NAMES[1:])
    run(folder, tmp_path / "at once")
    assert outputs(out) == outputs(tmp_path / "at once")


def test_interrupted_job_tells_how_far_it_came(folder, tmp_path):
    summary = JobSummary()
    cases = collect_cases([folder], keep="none", out=tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run_job(
            OwnProcess(FakeAnonymizer(before=fail_at(2, KeyboardInterrupt()))),
            cases,
            config_of(tmp_path / "out"),
            summary=summary,
        )
    assert (summary.done, summary.photos) == (2, 5)


def in_subprocess(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_FAKES / "fake_anonymizer.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("write", [1, 2, 3])
def test_killed_while_writing_leaves_no_half_file_after_the_next_run(folder, tmp_path, write):
    out = tmp_path / "out"
    killed = in_subprocess("writes", write, folder, out)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name, content in outputs(out).items():
        if not Path(name).name.startswith(".vera-"):
            assert content[-1:] in (b"\n", b"\x82"), name  # whole: end of a report, end of a PNG
    run(folder, out)
    run(folder, tmp_path / "at once")
    assert outputs(out) == outputs(tmp_path / "at once")


def test_killed_between_cases_is_resumed(folder, tmp_path):
    out = tmp_path / "out"
    arguments = ("anonymize", folder, "--out", out, "--seed", 7)
    assert in_subprocess("calls", 3, *arguments).returncode == -signal.SIGKILL
    done = in_subprocess("calls", 99, *arguments)
    assert done.returncode == 3, done.stderr
    assert "3 of all by an earlier run" in done.stdout


def test_journal_line_cut_short_by_a_kill_is_done_again(folder, tmp_path):
    run(folder, tmp_path / "out")
    journal = tmp_path / "out" / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes()[:-30])
    _, anonymizer = run(folder, tmp_path / "out")
    assert len(anonymizer.calls) == 1
    assert len(run(folder, tmp_path / "out")[1].calls) == 0


@pytest.mark.parametrize(
    "text",
    ["{}\n", "nonsense\n", '{"vera_job": 99, "key": "00"}\n', '{"vera_job": 1, "key": "00"}\n{}\n'],
)
def test_damaged_journal_is_refused(folder, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / JOURNAL_NAME).write_text(text)
    with pytest.raises(OutputError, match="is damaged or not VerA's"):
        run(folder, tmp_path / "out")


def test_journal_cannot_lead_out_of_the_folder(folder, tmp_path):
    run(folder, tmp_path / "out")
    journal = tmp_path / "out" / JOURNAL_NAME
    journal.write_text(journal.read_text().replace("case_0001/", "../../"))
    with pytest.raises(OutputError, match="is damaged or not VerA's"):
        Journal.open(tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"bundle": "c"}, {"faces": "largest"}, {"steps": 3}, {"pixel_limit": 1000}],
)
def test_other_options_do_everything_again_in_place(folder, tmp_path, change):
    run(folder, tmp_path / "out")
    names = outputs(tmp_path / "out").keys()
    _, anonymizer = run(folder, tmp_path / "out", **change)
    assert len(anonymizer.calls) == 3
    assert outputs(tmp_path / "out").keys() == names


def test_other_region_does_everything_again(folder, tmp_path):
    run(folder, tmp_path / "out")
    _, anonymizer = run(folder, tmp_path / "out", keep="eyes")
    assert [call["keep"] for call in anonymizer.calls] == [["eyes"] * 2, ["eyes"], ["eyes"] * 2]


def test_repainted_mask_does_everything_again(folder, tmp_path):
    mask = write_photo(tmp_path / "mask.png", 5)
    run(folder, tmp_path / "out", keep=str(mask))
    assert len(run(folder, tmp_path / "out", keep=str(mask))[1].calls) == 0
    write_photo(mask, 6)
    assert len(run(folder, tmp_path / "out", keep=str(mask))[1].calls) == 3


def test_overwrite_does_everything_again(folder, tmp_path):
    run(folder, tmp_path / "out")
    assert len(run(folder, tmp_path / "out", overwrite=True)[1].calls) == 3


def test_changed_photo_is_a_new_case_and_the_old_one_is_left_alone(folder, tmp_path):
    run(folder, tmp_path / "out")
    write_photo(folder / NAMES[1] / "front.png", 30)
    summary, anonymizer = run(folder, tmp_path / "out")
    assert len(anonymizer.calls) == 1
    assert summary.others == 1
    assert (tmp_path / "out/case_0002").is_dir()
    assert (tmp_path / "out/case_0004").is_dir()


def test_deleted_output_is_done_again(folder, tmp_path):
    run(folder, tmp_path / "out")
    (tmp_path / "out/case_0002/anon_1.png").unlink()
    assert len(run(folder, tmp_path / "out")[1].calls) == 1
    assert (tmp_path / "out/case_0002/anon_1.png").exists()


def test_renamed_folders_are_not_done_again(folder, tmp_path):
    run(folder, tmp_path / "out")
    (folder / NAMES[0]).rename(folder / "other")
    assert len(run(folder, tmp_path / "out")[1].calls) == 0


def test_two_cases_of_the_same_photo_get_an_output_each(folder, tmp_path):
    write_photo(folder / "copy" / "front.png", 3)
    run(folder, tmp_path / "out")
    assert len([name for name in outputs(tmp_path / "out") if name.endswith("anon_1.png")]) == 4


def test_image_of_an_earlier_request_does_not_stay_beside_a_refusal(folder, tmp_path):
    run(folder, tmp_path / "out")
    run(folder, tmp_path / "out", pixel_limit=3)
    assert not [name for name in outputs(tmp_path / "out") if name.endswith(".png")]


def test_other_format_replaces_the_files_and_is_told_in_the_report(folder, tmp_path):
    run(folder, tmp_path / "out")
    run(folder, tmp_path / "out", format="jpg")
    assert not list((tmp_path / "out").rglob("*.png"))
    report = json.loads((tmp_path / "out/case_0001/anon_1.json").read_text())
    assert report["kept"]["lossy"] is True
    assert "lossy" in report["warnings"][0]


def test_unreadable_file_is_tried_again(folder, tmp_path):
    (folder / NAMES[1] / "gone.png").symlink_to(tmp_path / "unplugged")
    summary, _ = run(folder, tmp_path / "out")
    assert summary.refused["unreadable-photo"] == 2
    _, anonymizer = run(folder, tmp_path / "out")
    assert len(anonymizer.calls) == 1


def test_full_disk_is_one_sentence_and_earlier_outputs_are_intact(folder, tmp_path):
    written = 0

    def write(path: Path, image: np.ndarray) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise OutputError("The disk is full; free some space.") from OSError(
                errno.ENOSPC, "full"
            )
        write_image(path, image)

    out = tmp_path / "out"
    with pytest.raises(OutputError, match="disk is full"):
        run(folder, out, write=write)
    assert sorted(outputs(out)) == [
        "case_0001/anon_1.json",
        "case_0001/anon_1.png",
        "case_0001/anon_2.json",
        "case_0001/anon_2.png",
    ]
    _, anonymizer = run(folder, out)
    assert len(anonymizer.calls) == 2


def test_file_that_the_system_cuts_off_leaves_nothing_half(folder, tmp_path):
    def limit() -> None:  # a real failure of write(2), in the middle of a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))

    photo = tmp_path / "large.png"
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    command = [sys.executable, str(_FAKES / "fake_anonymizer.py"), "calls", "99", "anonymize"]
    command += [str(photo), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("vera: '")
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert outputs(tmp_path / "out") == {}


def test_folder_that_another_job_writes_to_is_refused(folder, tmp_path):
    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(OutputError, match="Another run of vera"):
            run(folder, tmp_path / "out")
    finally:
        os.close(handle)


def test_leftovers_of_a_dead_process_are_removed_and_counted(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.vera-999999999-0123456789abcdef.png").write_bytes(b"half")
    summary, _ = run(folder, tmp_path / "out")
    assert summary.leftovers == 1
    assert not list((tmp_path / "out").glob(".vera-*"))
