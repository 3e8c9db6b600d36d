import pytest

from vera import contract
from vera.editing.grammar import PARTS, Aim, Drawn, Mix, Truncate, parse_edit, parse_target
from vera.errors import UsageError
from vera.request.keep import REGIONS

HAIR, EYE = contract.CLASSES.index("hair"), contract.CLASSES.index("eye")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("hair=draw:7", {contract.shape_row(HAIR), contract.texture_row(HAIR)}),
        ("hair.shape=draw:7", {contract.shape_row(HAIR)}),
        (" Hair.Texture = draw:7", {contract.texture_row(HAIR)}),
        ("eye=draw:7", {contract.shape_row(EYE), contract.texture_row(EYE)}),
        ("pose=draw:7", {contract.high_level_row("pose")}),
        ("coarse=draw:7", {0, 1}),
        ("all=draw:7", set(range(contract.LATENT_ROWS))),
    ],
)
def test_an_edit_takes_the_rows_of_its_part(text, rows):
    edit = parse_edit(text)
    assert isinstance(edit, Mix)
    assert (set(edit.rows), edit.source, edit.strength) == (rows, Drawn(7), 1.0)


def test_a_region_that_can_be_kept_is_a_part_of_the_same_classes():
    assert all(PARTS[name] == classes for name, classes in REGIONS.items())
    assert set(contract.CLASSES) <= set(PARTS)


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("pose=yaw:+15", Aim("yaw", 15)),
        ("pose=pitch:-5@0.5", Aim("pitch", -5, 0.5)),
        ("age=20", Aim("age", 20)),
        ("mouth-open=+0.1", Aim("mouth-open", 0.1)),
        ("expression=Happy", Aim("happy", None)),
        ("truncation=0.7", Truncate(0.7)),
    ],
)
def test_measured_edits_have_values_in_real_units(text, edit):
    assert parse_edit(text) == edit


@pytest.mark.parametrize(
    "text", ["hair=draw:7@0.5", "pose=yaw:+15", "age=-20@0.25", "expression=sad", "truncation=0.7"]
)
def test_a_label_is_the_edit_again(text):
    assert parse_edit(text).label == text


def test_a_label_names_no_file():
    edit = parse_edit("hair=patients/jane_doe@home=1.npz@0.5")
    assert edit.label == "hair=file@0.5"
    assert edit.source.path.name == "jane_doe@home=1.npz"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hair", "written NAME=VALUE"),
        ("=draw:7", "written NAME=VALUE"),
        ("beard=draw:7", "no part 'beard'; use one of background"),
        ("beard=3", "no part 'beard'"),
        ("hair.colour=draw:7", "no part 'hair.colour'"),
        ("hair=draw:-1", "draw: takes a seed"),
        ("hair=draw:", "draw: takes a seed"),
        ("hair=7", "hair takes draw:SEED or a latents file"),
        ("hair=draw:7@2", "above 0 and at most 1"),
        ("hair=draw:7@0", "above 0 and at most 1"),
        ("pose=roll:3", "pose takes yaw:DEGREES, pitch:DEGREES"),
        ("pose=yaw:", "yaw takes a change from -45 to 45"),
        ("pose=yaw:90", "yaw takes a change from -45 to 45"),
        ("pose=yaw:nan", "yaw takes a change from -45 to 45"),
        ("age=0", "age takes a change from -60 to 60"),
        ("expression=bored", "expression takes angry, disgust"),
        ("truncation=1.2", "from 0 .the mean face. to 1"),
        ("truncation=x", "from 0 .the mean face. to 1"),
    ],
)
def test_what_is_no_edit_is_told_in_a_sentence_with_what_is_possible(text, told):
    with pytest.raises(UsageError, match=told) as caught:
        parse_edit(text)
    assert str(caught.value).endswith(".")


def test_an_interpolation_goes_to_a_whole_face_or_to_an_edit():
    whole = parse_target("draw:9")
    assert isinstance(whole, Mix)
    assert whole.rows == tuple(range(contract.LATENT_ROWS))
    assert parse_target("pose=yaw:+15") == Aim("yaw", 15)
