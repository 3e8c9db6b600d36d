import shutil

import pytest
from job_folder import NAMES, run, write_cases, write_photo
from photo_reports import write_outputs

from vera.batch.journal import JOURNAL_NAME
from vera.errors import UsageError
from vera.page.originals import find_originals


@pytest.fixture
def done(folder, out):
    """A finished job; returns the folder of its cases."""
    run(folder, out)
    return folder


def names(found) -> dict[str, str]:
    return {output: photo.name for output, photo in found.by_output.items()}


def test_photographs_are_matched_with_their_outputs(done, out):
    found = find_originals(out, [done])
    assert names(found) == {
        "case_0001/anon_1": "after.png",
        "case_0001/anon_2": "before.png",
        "case_0002/anon_1": "front.png",
        "case_0003/anon_1": "front.png",
        "case_0003/anon_2": "torn.png",
    }
    assert found.unmatched == 0


def test_renamed_and_moved_photographs_are_recognised(done, out, tmp_path):
    moved = tmp_path / "elsewhere"
    (moved / "x").mkdir(parents=True)
    shutil.copy(done / NAMES[0] / "after.png", moved / "x" / "2.png")
    shutil.copy(done / NAMES[0] / "before.png", moved / "x" / "1.png")
    found = find_originals(out, [moved])
    assert names(found) == {"case_0001/anon_1": "2.png", "case_0001/anon_2": "1.png"}


def test_other_photographs_are_counted_as_unmatched(done, out, tmp_path):
    write_photo(tmp_path / "others" / "somebody" / "new.png", 77)
    found = find_originals(out, [tmp_path / "others"])
    assert found.by_output == {}
    assert found.unmatched == 1


def test_changed_photograph_is_not_recognised(done, out):
    write_photo(done / NAMES[1] / "front.png", 5)
    found = find_originals(out, [done])
    assert "case_0002/anon_1" not in found.by_output
    assert found.unmatched == 1


def test_photographs_are_matched_one_by_one(done, out):
    found = find_originals(out, [done / NAMES[1] / "front.png"])
    assert names(found) == {"case_0002/anon_1": "front.png"}


def test_the_same_photograph_in_two_cases_is_matched_with_both(tmp_path, out):
    cases = tmp_path / "twice"
    for case in ("a", "b"):
        write_photo(cases / case / "front.png", 3)
    run(cases, out)
    found = find_originals(out, [cases / "a" / "front.png"])
    assert sorted(found.by_output) == ["case_0001/anon_1", "case_0002/anon_1"]


def test_a_table_names_the_photographs(done, out, tmp_path):
    photo = done / NAMES[1] / "front.png"
    table = tmp_path / "cases.csv"
    table.write_text(f"case,photo\n7,{photo}\n", "utf-8")
    assert names(find_originals(out, [table])) == {"case_0002/anon_1": "front.png"}


def test_folder_without_a_journal_is_one_sentence_and_gets_none(out, tmp_path):
    write_outputs(out)
    with pytest.raises(UsageError, match="by which originals are recognised"):
        find_originals(out, [write_cases(tmp_path / "cases")])
    assert not (out / JOURNAL_NAME).exists()
