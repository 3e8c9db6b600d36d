"""Who is in a folder, what the rows make of them, and what is not made twice."""

import shutil
import stat
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vera.errors import OutputError, UsageError
from vera.evaluation.matchers import check_names, judge_matchers
from vera.evaluation.outputs import Outputs
from vera.evaluation.people import Person, collect_people, require_pairs
from vera.evaluation.rows import Makers, Produced, Row, case_seed, check_peers, peer_folder

VERA = Row("vera", "vera", "mouth", "single")


@pytest.fixture
def prefixed(tmp_path):
    """Two people, one of them twice, in one folder."""
    folder = tmp_path / "prefixed"
    folder.mkdir()
    for place, name in enumerate(("anna_1", "anna_2", "bert_1")):
        pixels = np.full((20, 20, 3), 40 * place, np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def makers(fake_bundle, fake_engines):
    return Makers(SimpleNamespace(), fake_engines, fake_bundle)


def test_prefixes_and_sub_folders_make_people(prefixed, out):
    people = collect_people(prefixed, pairs_by="prefix", out=out)
    assert [len(person.photos) for person in people] == [2, 1]
    assert people[0].pairs == ((0, 1),)
    alone = collect_people(prefixed, out=out)
    assert [len(person.photos) for person in alone] == [1, 1, 1]
    (prefixed / "anna").mkdir()
    for photo in sorted(prefixed.glob("anna_*")):
        photo.rename(prefixed / "anna" / photo.name)
    assert [len(person.photos) for person in collect_people(prefixed, out=out)] == [2, 1]


def test_a_table_makes_people_and_the_limit_takes_the_first(prefixed, out):
    table = prefixed.parent / "people.csv"
    table.write_text(
        "case,photo\nx,prefixed/bert_1.png\ny,prefixed/anna_1.png\nx,prefixed/anna_2.png\n"
    )
    people = collect_people(table, out=out)
    assert [[photo.stem for photo in one.photos] for one in people] == [
        ["bert_1", "anna_2"],
        ["anna_1"],
    ]
    assert collect_people(table, out=out, limit=1) == people[:1]


def test_pairs_are_asked_for_in_one_sentence(prefixed, out):
    with pytest.raises(UsageError, match="Nobody in the folder has two photographs"):
        require_pairs(collect_people(prefixed, out=out))
    with pytest.raises(UsageError, match="does not exist"):
        collect_people(prefixed / "missing", out=out)


def test_the_seed_of_a_case_knows_bytes_and_no_names(prefixed, tmp_path):
    first, second = prefixed / "anna_1.png", prefixed / "anna_2.png"
    copy = shutil.copy(first, tmp_path / "renamed.png")
    assert case_seed(3, [first]) == case_seed(3, [copy])
    assert len({case_seed(3, [first]), case_seed(4, [first]), case_seed(3, [second])}) == 3
    assert 0 <= case_seed(3, [first]) < 2**63


def test_the_key_changes_with_all_that_an_output_depends_on(prefixed, makers, fake_engines):
    person = Person(1, (prefixed / "anna_1.png",))
    key = makers.key(VERA, person)
    assert makers.key(VERA, Person(9, person.photos)) == key
    other_seed = Makers(makers.anonymizer, fake_engines, makers.bundle, seed=1)
    other_steps = Makers(makers.anonymizer, fake_engines, makers.bundle, options={"steps": 3})
    keys = {key, other_seed.key(VERA, person), other_steps.key(VERA, person)}
    keys.add(makers.key(Row("vera", "vera", "nose", "single"), person))
    keys.add(makers.key(VERA, Person(1, (prefixed / "bert_1.png",))))
    assert len(keys) == 5


def test_outputs_are_finished_until_photograph_or_image_changes(prefixed, makers, out):
    photo = prefixed / "anna_1.png"
    person, outputs = Person(1, (photo,)), Outputs(out)
    outputs.prepare(VERA)
    assert not outputs.finished(VERA, person, makers)
    image = np.full((20, 20, 3), 7, np.uint8)
    outputs.write(VERA, person, makers, [Produced(image, report={"seed": 5}, seconds=0.25)])
    assert outputs.finished(VERA, person, makers)
    again = outputs.read(VERA, person)[0]
    assert np.array_equal(again.image, image)
    assert (again.report["seed"], again.seconds) == (5, 0.25)
    next((out / VERA.folder).glob("*.png")).unlink()
    assert not outputs.finished(VERA, person, makers)
    with pytest.raises(OutputError, match="delete that row's folder"):
        outputs.read(VERA, person)
    outputs.write(VERA, person, makers, [Produced(image)])
    shutil.copy(prefixed / "bert_1.png", photo)
    assert not outputs.finished(VERA, person, makers)


def test_the_folder_of_a_baseline_is_for_its_owner_alone(out):
    outputs = Outputs(out)
    (out / "blur-mouth").mkdir(parents=True, mode=0o755)
    for row in (VERA, Row("baseline", "blur", "mouth", "each")):
        outputs.prepare(row)
    assert stat.S_IMODE((out / "blur-mouth").stat().st_mode) == 0o700
    assert stat.S_IMODE((out / VERA.folder).stat().st_mode) != 0o700
    assert outputs.baselines() == ("blur",)


def test_a_refused_photograph_leaves_no_image(prefixed, makers, out):
    person, outputs = Person(1, (prefixed / "anna_1.png",)), Outputs(out)
    outputs.prepare(VERA)
    outputs.write(VERA, person, makers, [Produced(np.zeros((20, 20, 3), np.uint8))])
    outputs.write(VERA, person, makers, [Produced(None, "no-face")])
    assert outputs.finished(VERA, person, makers)
    assert outputs.read(VERA, person)[0].reason == "no-face"
    assert not list((out / VERA.folder).glob("*.png"))


def test_peers_are_matched_by_name_and_missing_ones_are_failures(prefixed, makers, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    Image.new("RGB", (10, 10), (9, 9, 9)).save(theirs / "anna_1.jpg")
    Image.new("RGB", (10, 30)).save(theirs / "anna_2.png")
    row = Row("peer", "other", "none", "each")
    peers = Makers(makers.anonymizer, makers.engines, makers.bundle, {"other": theirs})
    made = peers.make(row, Person(1, tuple(sorted(prefixed.iterdir()))))
    assert made[0].image.shape == (20, 20, 3)
    assert [one.reason for one in made] == [None, "other-frame", "missing"]


def test_a_peers_output_never_stands_for_two_photographs(tmp_path, prefixed, makers):
    people = []
    for number in (1, 2):
        folder = tmp_path / "people" / f"person_{number}"
        folder.mkdir(parents=True)
        people.append(Person(number, (shutil.copy(prefixed / "anna_1.png", folder / "a.png"),)))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    Image.new("RGB", (20, 20), (9, 9, 9)).save(theirs / "a.png")
    with pytest.raises(UsageError, match="cannot be told apart"):
        check_peers({"other": theirs}, people)
    for number in (1, 2):
        (theirs / f"person_{number}").mkdir()
        Image.new("RGB", (20, 20), (number, 9, 9)).save(theirs / f"person_{number}" / "a.png")
    check_peers({"other": theirs}, people)
    peers = Makers(makers.anonymizer, makers.engines, makers.bundle, {"other": theirs})
    made = peers.make(Row("peer", "other", "none", "each"), people[1])
    assert made[0].image[0, 0, 0] == 2


def test_files_beside_a_peers_outputs_are_no_outputs(prefixed, makers, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "anna_1.json").write_text("{}")
    (theirs / "anna_2.json").write_text("{}")
    Image.new("RGB", (20, 20), (9, 9, 9)).save(theirs / "anna_2.png")
    person = Person(1, (prefixed / "anna_1.png", prefixed / "anna_2.png"))
    check_peers({"other": theirs}, [person])
    peers = Makers(makers.anonymizer, makers.engines, makers.bundle, {"other": theirs})
    made = peers.make(Row("peer", "other", "none", "each"), person)
    assert [one.reason for one in made] == ["missing", None]
    Image.new("RGB", (20, 20)).save(theirs / "anna_2.jpg")
    with pytest.raises(UsageError, match="several images of one name for 1 photographs"):
        check_peers({"other": theirs}, [person])


@pytest.mark.parametrize("text", ["theirs", "=x", "a/b=.", "name=missing"])
def test_a_peer_needs_a_plain_name_and_a_folder(text):
    with pytest.raises(UsageError, match="NAME=DIR"):
        peer_folder(text)


def test_names_of_judges_are_unique_and_independence_is_the_users_word():
    judges = [SimpleNamespace(name=name, sha256="0", embed=None) for name in ("a", "b")]
    known = [(0.4, 0.01, "said so")] * 2
    first, second = judge_matchers(judges, known, ["b"])
    assert "Not stated" in first.role
    assert "by the word of" in second.role
    with pytest.raises(UsageError, match="--independent names 'c'"):
        check_names(["a", "b"], ["c"])
    for names in (["a", "a"], ["a", "vera-embedder"]):
        with pytest.raises(UsageError, match="different names"):
            check_names(names, [])
