import pytest
from fake_anonymizer import FakeAnonymizer
from job_folder import NAMES, config_of, fail_at, outputs, run, run_photos, write_photo

from vera.batch.cases import collect_cases
from vera.batch.job import run_job
from vera.batch.journal import case_seed
from vera.batch.workers import OwnProcess


def test_cases_get_different_seeds_and_orders_do_not_matter(folder, tmp_path):
    _, first = run(folder, tmp_path / "out")
    seeds = [call["seed"] for call in first.calls]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    (folder / NAMES[0]).rename(folder / "zzz")
    _, second = run(folder, tmp_path / "again")
    assert [call["seed"] for call in second.calls] == [*seeds[1:], seeds[0]]


def test_case_seed_is_the_same_on_every_machine():
    assert case_seed(7, [b"a", b"b"]) == 2576437965091645325
    assert case_seed(7, [b"b", b"a"]) != case_seed(7, [b"a", b"b"])
    assert case_seed(8, [b"a", b"b"]) != case_seed(7, [b"a", b"b"])


def test_single_case_takes_the_seed_as_it_is(folder, tmp_path):
    photos = sorted((folder / NAMES[0]).iterdir())
    anonymizer = FakeAnonymizer()
    run_photos(photos, tmp_path / "out", anonymizer, seed=7)
    assert anonymizer.calls[0]["seed"] == 7
    assert sorted(outputs(tmp_path / "out")) == [
        "anon_1.json",
        "anon_1.png",
        "anon_2.json",
        "anon_2.png",
    ]


def test_without_a_seed_none_is_invented_here(folder, tmp_path):
    _, anonymizer = run(folder, tmp_path / "out", seed=None)
    assert {call["seed"] for call in anonymizer.calls} == {None}


def test_photos_done_one_by_one_do_not_replace_each_other(folder, tmp_path):
    for photo in sorted(folder.rglob("front.png")):
        run_photos([photo], tmp_path / "out")
    assert {"anon_1.png", "anon_2.png"} < set(outputs(tmp_path / "out"))


def test_random_names_have_no_order(folder, tmp_path):
    run(folder, tmp_path / "out", names="random")
    names = [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(names) == 3
    assert all(len(name) == len("anon_") + 12 for name in names)


def test_original_names_are_used_when_asked_for(folder, tmp_path):
    run(folder, tmp_path / "out", names="original")
    assert f"{NAMES[0]}/before.png" in outputs(tmp_path / "out")


def test_change_of_names_removes_the_files_of_the_old_names(folder, tmp_path):
    run(folder, tmp_path / "out", names="original")
    run(folder, tmp_path / "out", names="numbered")
    assert not [name for name in outputs(tmp_path / "out") if NAMES[0] in name]


def test_change_of_names_that_was_killed_half_way_removes_them_in_the_next_run(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out, names="original")
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, FakeAnonymizer(before=fail_at(1, KeyboardInterrupt())))
    assert f"{NAMES[0]}/before.png" in outputs(out)
    run(folder, out)
    assert not [name for name in outputs(out) if any(patient in name for patient in NAMES)]


def test_name_of_a_half_changed_case_is_not_given_to_another(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out, names="original")
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, FakeAnonymizer(before=fail_at(1, KeyboardInterrupt())))
    for path in (out / NAMES[0]).iterdir():
        path.unlink()
    (out / NAMES[0]).rmdir()
    other = write_photo(tmp_path / "others" / NAMES[0] / "before.png", 9)
    run(other.parents[1], out, names="original")
    run(folder, out)
    assert [name for name in outputs(out) if name.startswith(NAMES[0])]


def test_original_names_never_replace_the_photo_itself(folder, tmp_path):
    photo = folder / NAMES[0] / "before.png"
    content = photo.read_bytes()
    run_photos([photo], photo.parent, names="original")
    assert photo.read_bytes() == content
    assert (photo.parent / "before_2.png").exists()


def test_label_of_a_table_stays_inside_the_output(folder, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("case,photo\n../../x,jane_doe/before.png\n")
    out = tmp_path / "deep" / "out"
    cases = collect_cases([folder], keep="none", out=out, table=table)
    run_job(OwnProcess(FakeAnonymizer()), cases, config_of(out, names="original"))
    assert "_.._x/before.png" in outputs(out)
