"""Variants, keyed identities and identities that no two cases share."""

import json

import numpy as np
import pytest
from fake_anonymizer import THRESHOLD, FakeAnonymizer
from job_folder import NAMES, fail_at, outputs, run, run_photos, write_photo
from PIL import Image

from vera.batch.journal import JOURNAL_NAME
from vera.batch.persons import Persons, from_text, rounded, to_text
from vera.errors import OutputError, UsageError
from vera.key import CaseKey

SECRET = b"a secret of more than sixteen bytes"


def people(out) -> list[list[int]]:
    """The new people in the journal: number of the person, for each finished case."""
    lines = [json.loads(line) for line in (out / JOURNAL_NAME).read_text().splitlines()[1:]]
    finished = [line for line in lines if line["photos"] is not None]
    return [from_text(line["persons"]).argmax(1).tolist() for line in finished]


def many(folder, count):
    for number in range(count):
        write_photo(folder / f"case{number}" / "front.png", number)
    return folder


def test_variants_lie_beside_each_other_under_numbered_names(folder, tmp_path):
    summary, _ = run(folder, tmp_path / "out", variants=3)
    names = [name for name in outputs(tmp_path / "out") if name.startswith("case_0001")]
    assert sorted(names) == sorted(
        f"case_0001/anon_{photo}{variant}.{ending}"
        for photo in (1, 2)
        for variant in ("", "_v2", "_v3")
        for ending in ("png", "json")
    )
    assert (summary.photos, summary.done, summary.anonymized) == (5, 5, 12)


def test_results_of_each_variant_lie_under_its_names(folder, tmp_path):
    run(folder, tmp_path / "out", variants=2)
    originals = [folder / NAMES[0] / name for name in ("after.png", "before.png")]
    shifts = []
    for variant in ("", "_v2"):
        for number, original in enumerate(originals, 1):
            output = Image.open(tmp_path / f"out/case_0001/anon_{number}{variant}.png")
            shift = np.asarray(output)[0, 0] - np.asarray(Image.open(original))[0, 0]
            shifts.append(shift.tolist())  # what the fake adds: one triple for each person
    assert shifts[0] == shifts[1] != shifts[2] == shifts[3]


def test_fewer_variants_later_remove_what_is_stale(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out, variants=3)
    run(folder, out, variants=2)
    run(folder, tmp_path / "at once", variants=2)
    assert outputs(out) == outputs(tmp_path / "at once")


def test_more_variants_later_keep_the_names(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    run(folder, out, variants=2)
    run(folder, tmp_path / "at once", variants=2)
    assert outputs(out).keys() == outputs(tmp_path / "at once").keys()


def test_name_of_a_variant_is_never_that_of_another_photograph(tmp_path):
    photos = [write_photo(tmp_path / name, n) for n, name in enumerate(("a_v2.png", "a.png"))]
    run_photos(photos, tmp_path / "out", names="original", variants=2)
    assert {name for name in outputs(tmp_path / "out") if name.endswith(".png")} == {
        "a_v2.png",
        "a_v2_v2.png",
        "a_2.png",
        "a_2_v2.png",
    }


def test_secret_gives_every_case_its_key(folder, tmp_path):
    _, anonymizer = run(folder, tmp_path / "out", seed=None, secret=SECRET)
    assert [call["key"] for call in anonymizer.calls] == [CaseKey(SECRET, name) for name in NAMES]


def test_neither_secret_nor_case_id_is_written_anywhere(folder, tmp_path):
    run(folder, tmp_path / "out", seed=None, secret=SECRET, distinct=THRESHOLD)
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in (SECRET, *(name.encode() for name in NAMES)):
            assert word not in content
            assert word not in bytes(path)


def test_other_secret_or_case_id_does_the_case_again(folder, tmp_path):
    options = {"seed": None, "secret": SECRET}
    run(folder, tmp_path / "out", **options)
    assert len(run(folder, tmp_path / "out", **options)[1].calls) == 0
    (folder / NAMES[0]).rename(folder / "jane_roe")
    assert len(run(folder, tmp_path / "out", **options)[1].calls) == 1
    assert len(run(folder, tmp_path / "out", seed=None, secret=SECRET + b"!")[1].calls) == 3


def test_secret_without_an_id_for_every_case_is_refused(folder, tmp_path):
    write_photo(folder / "loose.png", 9)
    with pytest.raises(UsageError, match="every case needs an id"):
        run(folder, tmp_path / "out", seed=None, secret=SECRET)
    assert not (tmp_path / "out").exists()


def test_seed_beside_a_secret_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="leave --seed out"):
        run(folder, tmp_path / "out", seed=7, secret=SECRET)


def test_secret_is_not_shown_when_a_config_is_printed(tmp_path):
    from vera.batch.plan import JobConfig

    assert "secret of more" not in repr(JobConfig(tmp_path, "b", secret=SECRET))


def test_no_two_cases_get_the_same_person(tmp_path):
    folder = many(tmp_path / "cases", 4)
    run(folder, tmp_path / "shared", seed=1, distinct=1.0)  # nothing exceeds a cosine of 1
    assert len({person for (person,) in people(tmp_path / "shared")}) < 4
    run(folder, tmp_path / "out", seed=1, distinct=THRESHOLD)
    assert sorted(person for (person,) in people(tmp_path / "out")) == [0, 1, 2, 3]


def test_case_without_a_person_of_its_own_is_refused(tmp_path):
    summary, _ = run(many(tmp_path / "cases", 5), tmp_path / "out", distinct=THRESHOLD)
    assert (summary.anonymized, summary.refused) == (4, {"no-person": 1})


class Stubborn(FakeAnonymizer):
    """Gives everybody the same person, whoever is to be avoided."""

    def anonymize(self, photos, **options):
        return super().anonymize(photos, **{**options, "distinct_from": None, "seed": 1})


def test_person_of_another_case_is_refused_even_if_the_anonymizer_insists(tmp_path):
    out = tmp_path / "out"
    summary, _ = run(many(tmp_path / "cases", 2), out, Stubborn(), distinct=THRESHOLD)
    assert summary.refused == {"not-distinct": 1}
    assert not (out / "case_0002/anon_1.png").exists()
    report = json.loads((out / "case_0002/anon_1.json").read_text())
    assert report["reason"] == "not-distinct"


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_distinct_people_survive_an_interruption(tmp_path, stop):
    folder, out = many(tmp_path / "cases", 4), tmp_path / "out"
    stopped = FakeAnonymizer(before=fail_at(stop, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, stopped, seed=1, distinct=THRESHOLD)
    run(folder, out, seed=1, distinct=THRESHOLD)
    run(folder, tmp_path / "at once", seed=1, distinct=THRESHOLD)
    assert outputs(out) == outputs(tmp_path / "at once")


def test_people_of_a_request_that_is_done_again_are_free(tmp_path):
    folder, out = many(tmp_path / "cases", 4), tmp_path / "out"
    run(folder, out, seed=1, distinct=THRESHOLD)
    run(folder, out, seed=2, distinct=THRESHOLD)
    run(folder, tmp_path / "fresh", seed=2, distinct=THRESHOLD)
    assert outputs(out) == outputs(tmp_path / "fresh")


def test_people_of_other_jobs_in_the_folder_are_not_given_away_again(tmp_path):
    out = tmp_path / "out"
    run(many(tmp_path / "cases", 2), out, seed=1, distinct=THRESHOLD)
    other = tmp_path / "others"
    for number in (50, 51):
        write_photo(other / f"case{number}" / "front.png", number)
    run(other, out, seed=1, distinct=THRESHOLD)
    assert sorted(person for (person,) in people(out)) == [0, 1, 2, 3]


def test_cases_of_one_id_share_their_person_on_purpose(tmp_path):
    out = tmp_path / "out"
    for year in ("2024", "2025"):
        photo = write_photo(tmp_path / year / "jane" / "front.png", int(year))
        run(photo.parents[1], out, seed=None, secret=SECRET, distinct=THRESHOLD)
    assert people(out)[0] == people(out)[1]


def test_spellings_of_one_id_are_one_owner(tmp_path):
    out = tmp_path / "out"
    for number, name in enumerate(("Jose\u0301", " Jos\u00e9 ")):
        photo = write_photo(tmp_path / str(number) / name / "front.png", number)
        run(photo.parents[1], out, seed=None, secret=SECRET, distinct=THRESHOLD)
    assert people(out)[0] == people(out)[1]


def test_people_are_in_the_journal_only_when_asked_for(folder, tmp_path):
    run(folder, tmp_path / "out")
    assert '"persons": []' in (tmp_path / "out" / JOURNAL_NAME).read_text()
    assert all(
        json.loads(line).get("persons", []) == []
        for line in (tmp_path / "out" / JOURNAL_NAME).read_text().splitlines()
    )


def test_journal_with_people_that_are_no_numbers_is_damaged(folder, tmp_path):
    run(folder, tmp_path / "out", distinct=THRESHOLD)
    journal = tmp_path / "out" / JOURNAL_NAME
    text = journal.read_text()
    start = text.index('"persons": ["') + len('"persons": ["')
    journal.write_text(text[:start] + "?" + text[start + 1 :])
    with pytest.raises(OutputError, match="is damaged or not VerA's"):
        run(folder, tmp_path / "out", distinct=THRESHOLD)


def test_embedding_is_read_from_the_journal_bit_for_bit():
    vectors = list(np.random.default_rng(0).normal(size=(5, 128)).astype(np.float32))
    people = rounded(vectors)
    assert (from_text(to_text(people)) == people).all()
    np.testing.assert_allclose(np.linalg.norm(people, axis=1), 1, atol=1e-3)


def test_collision_is_a_cosine_above_the_limit_with_another_owner():
    persons = Persons(0.5)
    for number, row in enumerate(np.eye(3, dtype=np.float32)):
        persons.add(f"case {number}", row[None])
    at_60 = np.array([[0.5, 0.75**0.5, 0.0]], np.float32)
    assert persons.taken("new", at_60)
    assert not persons.taken("case 1", at_60)  # 0.5 to case 0 is not above the limit
    assert len(persons.of_others("case 1")) == 2


def test_people_by_another_bundle_are_not_compared(tmp_path):
    out = tmp_path / "out"
    run(many(tmp_path / "cases", 4), out, seed=1, distinct=THRESHOLD, bundle="a")
    write_photo(tmp_path / "others" / "x" / "front.png", 50)
    summary, _ = run(tmp_path / "others", out, seed=1, distinct=THRESHOLD, bundle="b")
    assert summary.anonymized == 1  # all four people are taken, but by the other embedder
    write_photo(tmp_path / "more" / "y" / "front.png", 51)
    summary, _ = run(tmp_path / "more", out, seed=1, distinct=THRESHOLD, bundle="a")
    assert summary.refused == {"no-person": 1}
