"""Cases that fail do not stop a job; a job of nothing but failures stops early."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_anonymizer import FakeAnonymizer, FakeResult
from job_folder import NAMES, config_of, fail_at, outputs, run, run_photos, write_photo

from vera.batch.cases import collect_cases
from vera.batch.casework import CaseFailure, CaseTask, write_failure
from vera.batch.job import run_job
from vera.batch.workers import OwnProcess
from vera.client.failures import LostError
from vera.errors import BundleError, EngineError, OutputError, ServerError, UsageError
from vera.report import BundleReport
from vera.request.keep import Keep
from vera.settings import Settings


def write_many(folder, *names):
    for number, name in enumerate(names):
        write_photo(folder / name / "front.png", number)
    return folder


def task_of(photo, mask) -> CaseTask:
    """A case of one photograph with a mask, two new identities."""
    stems = ("anon_1", "anon_1_v2")
    networks = BundleReport("fake", "0", {})
    settings = Settings(variants=2)
    return CaseTask((photo,), (str(mask),), photo.parent, stems, "png", settings, networks)


def vanishing(mask, call) -> FakeAnonymizer:
    """Reads the request as the real one does; before case ``call`` the mask is deleted."""

    def before(number):
        if number == call:
            mask.unlink()
        Keep.parse(str(mask))

    return FakeAnonymizer(before=before)


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


def test_lost_server_ends_the_job_after_good_cases_and_the_next_run_does_the_rest(tmp_path):
    folder, out = write_many(tmp_path / "cases", *"abcd"), tmp_path / "out"
    lost = LostError("The server at grpc://host:8001 cannot be reached or was lost (refused).")
    with pytest.raises(ServerError, match="cannot be reached"):
        run(folder, out, FakeAnonymizer(before=fail_at(2, lost)))
    assert len(list(out.glob("**/*.png"))) == 1
    summary, anonymizer = run(folder, out)
    assert len(anonymizer.calls) == 3
    assert summary.anonymized == 4


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

    summary, _ = run(folder, tmp_path / "out", vanishing(mask, call=2), keep=str(mask))
    assert (summary.anonymized, summary.failed) == (2, 2)
    report = json.loads((tmp_path / "out/case_0002/anon_1.json").read_text())
    assert "no region to keep" in report["message"]
    assert "jane" not in report["message"].lower()


@pytest.mark.parametrize("name", ["Jane_Doe.png", "Jane_Doe", "Jane, Doe.png"])
def test_error_of_a_vanished_mask_that_ends_the_job_names_nobody(tmp_path, monkeypatch, name):
    folder = write_many(tmp_path / "cases", "a", "b")
    monkeypatch.chdir(tmp_path)
    mask = Path(name)
    write_photo(tmp_path / "mask.png", 5).rename(mask)
    with pytest.raises(UsageError, match="no region to keep") as told:
        run(folder, tmp_path / "out", vanishing(mask, call=1), keep=name)
    assert "doe" not in str(told.value).lower()
    assert "jane" not in str(told.value).lower()


@pytest.mark.parametrize("quoted", ["'{}'", "The mask '{}'"])
def test_files_of_the_case_are_not_named_whatever_their_spelling(tmp_path, quoted):
    photo, mask = tmp_path / "Jane/front.png", tmp_path / "Jane/Mask"
    for path in (photo, mask):
        for text in (str(path), str(path).lower()):
            error = EngineError(quoted.format(text) + " broke.")
            failure = CaseFailure.of(error, task_of(photo, mask))
            assert "jane" not in failure.message.lower()


def test_regions_stay_in_the_message(tmp_path):
    task = replace(task_of(tmp_path / "a.png", tmp_path / "b.png"), keep=("mouth",))
    assert CaseFailure.of(EngineError("'mouth' broke."), task).message == "'mouth' broke."


class OddPhoto(FakeAnonymizer):
    """Refuses the first photograph of the second case as something in it breaks."""

    def anonymize(self, photos, **options):
        results = super().anonymize(photos, **options)
        if len(self.calls) == 2:
            told = replace(results[0].report, verdict="refused", reason="failed", message="Odd.")
            results[0] = FakeResult(None, told)
        return results


def test_case_of_a_photograph_that_failed_is_tried_again(folder, tmp_path):
    out = tmp_path / "out"
    summary, _ = run(folder, out, OddPhoto())
    assert (summary.refused["failed"], summary.failed) == (1, 1)
    _, anonymizer = run(folder, out)
    assert [call["photos"][0].parent.name for call in anonymizer.calls] == [NAMES[1]]
    run(folder, tmp_path / "at once")
    assert outputs(out) == outputs(tmp_path / "at once")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_new_image_never_lies_beside_the_report_of_an_earlier_request(tmp_path, ending):
    photo = write_photo(tmp_path / "photo.png", 2)
    out = tmp_path / "out"
    run_photos([photo], out, format="png")
    seen = []

    def write(path, image):
        seen.append(sorted(path.name for path in out.glob("anon_*")))
        raise OutputError("The disk is full.")

    cases = collect_cases([photo], keep="none", out=out)
    with pytest.raises(OutputError):
        run_job(
            OwnProcess(FakeAnonymizer(), write=write), cases, config_of(out, seed=8, format=ending)
        )
    assert seen == [["anon_1.png"] if ending == "png" else []]


def test_failure_takes_the_image_away_before_it_says_refused(tmp_path):
    image = write_photo(tmp_path / "anon_1.png", 1)
    photo = write_photo(tmp_path / "photo.png", 2)
    task = task_of(photo, tmp_path / "mask.png")
    done = write_failure(task, CaseFailure.of(EngineError(f"'{photo}' broke."), task))
    assert not image.exists()
    told = [json.loads((tmp_path / f"{stem}.json").read_text()) for stem in task.stems]
    assert [(report["photo"], report["variant"]) for report in told] == [(1, 1), (1, 2)]
    assert {photo.message for photo in done.photos} == {"a file of this case broke."}
