"""Cases that fail do not stop a job; a job of nothing but failures stops early."""

import json

import pytest
from fake_anonymizer import FakeAnonymizer
from job_folder import NAMES, fail_at, outputs, run, run_photos, write_photo

from vera.casework import CaseFailure, CaseTask, write_failure
from vera.errors import BundleError, EngineError, UsageError
from vera.report import BundleReport
from vera.settings import Settings


def write_many(folder, *names):
    for number, name in enumerate(names):
        write_photo(folder / name / "front.png", number)
    return folder


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (EngineError("The engine broke."), "The engine broke."),
        (ZeroDivisionError("jane_doe"), "unexpected ZeroDivisionError"),
        (MemoryError(), "There was not enough memory for this case"),
    ],
)
def test_failed_case_is_refused_with_a_sentence_and_the_others_are_done(
    folder, tmp_path, error, sentence
):
    out = tmp_path / "out"
    summary, anonymizer = run(folder, out, FakeAnonymizer(before=fail_at(2, error)))
    assert len(anonymizer.calls) == 3
    assert (summary.failed, summary.refused["failed"], summary.anonymized) == (1, 1, 3)
    report = json.loads((out / "case_0002/anon_1.json").read_text())
    assert (report["verdict"], report["reason"]) == ("refused", "failed")
    assert report["message"].startswith(sentence)
    assert "jane_doe" not in json.dumps(report)
    assert not (out / "case_0002/anon_1.png").exists()


def test_failed_case_is_tried_again_by_the_next_run(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out, FakeAnonymizer(before=fail_at(2, EngineError("broken"))))
    _, anonymizer = run(folder, out)
    assert [call["photos"][0].parent.name for call in anonymizer.calls] == [NAMES[1]]
    run(folder, tmp_path / "at once")
    assert outputs(out) == outputs(tmp_path / "at once")


def test_image_of_an_earlier_request_does_not_stay_beside_a_failure(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    run(folder, out, FakeAnonymizer(before=fail_at(2, EngineError("broken"))), seed=8)
    assert not (out / "case_0002/anon_1.png").exists()


def test_three_failures_at_the_start_end_the_job_with_the_engine_s_sentence(tmp_path):
    folder = write_many(tmp_path / "cases", *(f"breaking{n}" for n in range(5)))
    anonymizer = FakeAnonymizer()
    with pytest.raises(EngineError, match="The engine broke"):
        run(folder, tmp_path / "out", anonymizer)
    assert len(anonymizer.calls) == 3


def test_failures_after_a_good_case_do_not_end_the_job(tmp_path):
    folder = write_many(tmp_path / "cases", "a", *(f"breaking{n}" for n in range(5)))
    summary, _ = run(folder, tmp_path / "out")
    assert (summary.anonymized, summary.failed) == (1, 5)


def test_fewer_cases_that_all_fail_are_an_error_and_not_refusals(tmp_path):
    folder = write_many(tmp_path / "cases", "breaking1", "breaking2")
    with pytest.raises(EngineError, match="The engine broke"):
        run(folder, tmp_path / "out")
    photo = folder / "breaking1/front.png"
    with pytest.raises(EngineError, match="The engine broke"):
        run_photos([photo], tmp_path / "single")


def test_single_failure_beside_resumed_cases_is_a_refusal(tmp_path):
    folder = write_many(tmp_path / "cases", "a", "b")
    run(folder, tmp_path / "out")
    write_many(folder, "a", "b", "breaking")
    summary, _ = run(folder, tmp_path / "out")
    assert (summary.resumed, summary.failed) == (2, 1)


@pytest.mark.parametrize("error", [UsageError("no sense"), BundleError("gone")])
def test_what_no_photograph_can_be_blamed_for_ends_the_job_at_once(folder, tmp_path, error):
    anonymizer = FakeAnonymizer(before=fail_at(1, error))
    with pytest.raises(type(error)):
        run(folder, tmp_path / "out", anonymizer)
    assert len(anonymizer.calls) == 1


def test_mask_that_vanishes_while_the_job_runs_fails_its_case_only(folder, tmp_path):
    mask = write_photo(tmp_path / "masks" / "jane_doe.png", 5)

    def vanish(call):
        if call == 2:
            mask.unlink()
        if call > 1:
            raise UsageError(f"'{mask}' is no region to keep.")

    summary, _ = run(folder, tmp_path / "out", FakeAnonymizer(before=vanish), keep=str(mask))
    assert (summary.anonymized, summary.failed) == (2, 2)
    report = json.loads((tmp_path / "out/case_0002/anon_1.json").read_text())
    assert report["message"] == "a file of this case is no region to keep."


def test_failure_takes_the_image_away_before_it_says_refused(tmp_path):
    image = write_photo(tmp_path / "anon_1.png", 1)
    photo = write_photo(tmp_path / "photo.png", 2)
    networks = BundleReport("fake", "0", {})
    task = CaseTask(
        (photo,),
        ("none",),
        tmp_path,
        ("anon_1", "anon_1_v2"),
        "png",
        Settings(variants=2),
        networks,
    )
    done = write_failure(task, CaseFailure(f"'{photo}' broke."))
    assert not image.exists()
    told = [json.loads((tmp_path / f"{stem}.json").read_text()) for stem in task.stems]
    assert [(report["photo"], report["variant"]) for report in told] == [(1, 1), (1, 2)]
    assert {photo.message for photo in done.photos} == {"a file of this case broke."}
