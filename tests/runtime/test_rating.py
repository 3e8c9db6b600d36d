import csv
import stat
from random import Random

import numpy as np
import pytest
from photo_reports import OUTLINE, full_report, picture, refused_report, write_output
from PIL import Image

from vera.errors import OutputError, UsageError
from vera.files.photo import read_photo
from vera.page.originals import NONE, Originals
from vera.page.read import read_outputs
from vera.rating.plan import plan
from vera.rating.region import kept_region, original_region, view
from vera.rating.scale import Scale
from vera.rating.sheet import Study, write_sheets
from vera.report import KeptReport

BOTH = ("anonymized", "original-region")
KEPT = (slice(40, 60), slice(20, 40))


@pytest.mark.parametrize(
    ("text", "values", "ordered"),
    [
        ("1-5", ("1", "2", "3", "4", "5"), True),
        ("0-1", ("0", "1"), True),
        ("yes-no", ("yes", "no"), False),
        ("scar, none ,other", ("scar", "none", "other"), False),
        ("none<mild<severe", ("none", "mild", "severe"), True),
    ],
)
def test_scales(text, values, ordered):
    assert Scale.parse(text) == Scale(text, values, ordered)


@pytest.mark.parametrize("text", ["", "5-1", "3-3", "1-99", "yes", "a,,b", "a,a", "a<b,c"])
def test_what_is_no_scale_is_one_sentence(text):
    with pytest.raises(UsageError, match="is no scale of 2 to 20 answers"):
        Scale.parse(text)


def subjects(count, kinds=BOTH):
    return {f"anon_{number}": kinds for number in range(count)}


def shown(items, rater=1):
    return [(item.output, item.kind) for item in items if item.rater == rater]


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_every_rater_sees_each_condition_once_and_far_apart(count):
    items = plan(subjects(count), 3, Random(1))
    assert len({item.name for item in items}) == 3 * 2 * count
    for rater in (1, 2, 3):
        order = shown(items, rater)
        assert sorted(order) == sorted((o, kind) for o in subjects(count) for kind in BOTH)
        places = {key: place for place, key in enumerate(order)}
        for output in subjects(count):
            apart = abs(places[output, BOTH[0]] - places[output, BOTH[1]])
            assert apart - 1 >= count // 2


def test_either_condition_comes_first_for_half_of_the_photographs():
    order = shown(plan(subjects(40), 1, Random(1)))
    assert [kind for _, kind in order[:40]].count("anonymized") == 20
    assert [kind for _, kind in order[:10]].count("anonymized") not in (0, 10)


def test_each_rater_has_an_order_of_his_own():
    items = plan(subjects(20), 2, Random(1))
    assert shown(items, 1) != shown(items, 2)
    assert [output for output, _ in shown(items)[:20]] != list(subjects(20))


def test_a_seed_repeats_the_plan():
    assert plan(subjects(9), 2, Random(4)) == plan(subjects(9), 2, Random(4))
    assert plan(subjects(9), 2, Random(4)) != plan(subjects(9), 2, Random(5))


def test_photographs_of_one_condition_are_shown_once():
    mixed = {**subjects(5), "alone": ("anonymized",)}
    order = shown(plan(mixed, 1, Random(2)))
    assert len(order) == 11
    assert [kind for output, kind in order if output == "alone"] == ["anonymized"]


def pair():
    """Original and lossless output that share the kept square, and its mask."""
    original, output = picture(1), picture(2)
    output[KEPT] = original[KEPT]
    kept = np.zeros(original.shape[:2], bool)
    kept[KEPT] = True
    return original, output, kept


def test_outline_becomes_the_region():
    kept = kept_region({"kept": {"outline": OUTLINE}}, (80, 60))
    assert np.array_equal(kept, pair()[2])
    assert kept_region({"kept": {"outline": []}}, (80, 60)) is None


def test_of_the_original_only_what_the_output_shows_is_shown():
    original, output, kept = pair()
    wider = np.roll(kept, 1, axis=0) | kept  # an outline that is rounded outwards
    region = original_region(original, output, wider, lossy=False)
    assert np.array_equal(region[KEPT], original[KEPT])
    outside = ~kept & (original != output).any(2)
    assert (region[outside] == 128).all()


def test_of_a_lossy_output_s_original_the_rim_is_not_shown():
    original, output, kept = pair()
    region = original_region(original, output, kept, lossy=True)
    assert np.array_equal(region[42:58, 22:38], original[42:58, 22:38])
    assert (region[40:42] == 128).all()
    assert (region[~kept] == 128).all()


def test_of_a_lossy_output_s_original_only_what_the_output_shows_nearly_is_shown():
    original, output, kept = pair()
    original[KEPT] = np.clip(original[KEPT], 20, 230)
    output[KEPT] = original[KEPT] + 8  # about what the codec does to it
    hole = (slice(48, 52), slice(26, 30))  # of the kept region, which its outline passed over
    output[hole] = original[hole] + 13
    region = original_region(original, output, kept, lossy=True)
    assert (region[hole] == 128).all()
    assert np.array_equal(region[42:48, 22:38], original[42:48, 22:38])


def test_other_photographs_give_no_region():
    original, output, kept = pair()
    assert original_region(picture(3), output, kept, lossy=False) is None
    assert original_region(picture(3), output, kept, lossy=True) is None
    thin = kept & (np.arange(60) < 23)  # nothing of it is left within the rim
    assert original_region(original, output, thin, lossy=True) is None
    assert original_region(original[:-1], output, kept, lossy=False) is None


def test_view_is_the_region_and_half_its_size_around():
    original, _, kept = pair()
    assert np.array_equal(view(original, kept), original[30:70, 10:50])
    assert view(original, None) is original


@pytest.fixture
def study(out, tmp_path):
    """Outputs of three originals, one refused and one without a kept region; and the originals."""
    found = {}
    for number in (1, 2, 3):
        name = f"case_000{number}/anon_1"
        original, output = picture(number), picture(number + 10)
        output[KEPT] = original[KEPT]
        write_output(out, name, full_report(), output)
        found[name] = tmp_path / f"jane_doe_{number}.png"
        Image.fromarray(original).save(found[name])
    write_output(out, "case_0004/anon_1", refused_report())
    write_output(out, "case_0005/anon_1", full_report(kept=KeptReport()), picture(5))
    return read_outputs(out), Originals(found, 0)


def sheets(folder, place, originals=NONE, **options):
    asked = {"scale": Scale.parse("1-5"), "question": "How red?", "seed": 1, **options}
    return write_sheets(folder, place, Study(**asked), originals=originals)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_rater_gets_a_folder_and_the_key_stays_apart(study, tmp_path):
    folder, originals = study
    written = sheets(folder, tmp_path / "sheets", originals)
    assert (written.photos, written.regions, written.left_out) == (4, 3, 1)
    top = {path.name for path in (tmp_path / "sheets").iterdir()}
    assert top == {"key.csv", "rater_1", "rater_2"}
    assert stat.S_IMODE((tmp_path / "sheets/key.csv").stat().st_mode) == 0o600
    key = rows(tmp_path / "sheets/key.csv")
    for rater in ("1", "2"):
        items = [row["item"] for row in key if row["rater"] == rater]
        place = tmp_path / f"sheets/rater_{rater}"
        assert [row["item"] for row in rows(place / "answers.csv")] == items
        assert {path.stem for path in (place / "images").iterdir()} == set(items)
        assert len(items) == 7
    assert {row["case"] for row in key} == {f"case_000{number}" for number in (1, 2, 3, 5)}


def test_a_rater_s_folder_tells_neither_names_nor_conditions(study, tmp_path):
    folder, originals = study
    sheets(folder, tmp_path / "sheets", originals)
    for path in (tmp_path / "sheets/rater_1").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for told in (b"anon_", b"case_", b"jane", b"anonymized", b"original-region"):
            assert told not in content, path.name


def test_metadata_of_the_pictures_are_the_same_in_both_conditions(study, tmp_path):
    folder, originals = study
    sheets(folder, tmp_path / "sheets", originals)
    marks = set()
    for path in (tmp_path / "sheets/rater_1/images").iterdir():
        with Image.open(path) as image:
            marks.add(repr(sorted(image.info.items())))
    assert len(marks) == 1


def test_an_original_is_shown_within_its_kept_region_only(study, tmp_path):
    folder, originals = study
    sheets(folder, tmp_path / "sheets", originals)
    for row in rows(tmp_path / "sheets/key.csv"):
        path = tmp_path / f"sheets/rater_{row['rater']}/images/{row['item']}.png"
        image = read_photo(path).image
        output = read_photo(folder.folder / f"{row['output']}.png").image
        if row["kind"] == "anonymized":
            assert np.array_equal(image, output)
        else:
            assert np.array_equal(image[KEPT], output[KEPT])
            assert ((image == 128).all(2) | (image == output).all(2)).all()
            assert (image == 128).all(2).mean() > 0.9


def test_both_conditions_of_a_photograph_are_cropped_alike(study, tmp_path):
    folder, originals = study
    sheets(folder, tmp_path / "sheets", originals, crop="kept", raters=1)
    sizes = {
        row["output"]: read_photo(tmp_path / f"sheets/rater_1/images/{row['item']}.png").image.shape
        for row in rows(tmp_path / "sheets/key.csv")
    }
    assert sizes.pop("case_0005/anon_1") == (80, 60, 3)
    assert set(sizes.values()) == {(40, 40, 3)}


def test_originals_whose_region_cannot_be_shown_are_counted(study, tmp_path):
    folder, originals = study
    Image.fromarray(picture(99)).save(originals.by_output["case_0002/anon_1"])
    written = sheets(folder, tmp_path / "sheets", originals)
    assert (written.photos, written.regions, written.unshown) == (4, 2, 1)


def test_without_originals_each_photograph_is_shown_once(study, tmp_path):
    assert sheets(study[0], tmp_path / "sheets").regions == 0
    assert {row["kind"] for row in rows(tmp_path / "sheets/key.csv")} == {"anonymized"}


def test_sheets_never_overwrite(study, tmp_path):
    sheets(study[0], tmp_path / "sheets")
    before = (tmp_path / "sheets/key.csv").read_bytes()
    with pytest.raises(OutputError, match="is not empty"):
        sheets(study[0], tmp_path / "sheets", seed=2)
    assert (tmp_path / "sheets/key.csv").read_bytes() == before


def test_sheets_do_not_lie_in_the_output_folder(study, out):
    with pytest.raises(UsageError, match="must not lie in the output folder"):
        sheets(study[0], out / "sheets")
    assert not (out / "sheets").exists()


def test_nothing_to_rate_is_one_sentence(out, tmp_path):
    write_output(out, "anon_1", refused_report())
    with pytest.raises(UsageError, match="nothing to rate"):
        sheets(read_outputs(out), tmp_path / "sheets")
    assert not (tmp_path / "sheets").exists()


def test_question_is_escaped(study, tmp_path):
    sheets(study[0], tmp_path / "sheets", question="<b>?")
    text = (tmp_path / "sheets/rater_1/sheet.html").read_text("utf-8")
    assert "<h1>&lt;b&gt;?</h1>" in text
    assert "http" not in text
