import numpy as np
import pytest
from PIL import Image

from vera import contract
from vera.bundle import load_bundle
from vera.editing import Editor, save_latents
from vera.editing.directions import Directions
from vera.editing.drawing import draw_person, truncated
from vera.editing.grammar import Aim
from vera.editing.look import look_at
from vera.editing.search import pursue
from vera.engines import OnnxEngines
from vera.errors import PhotoError, RefusedError, UsageError

HAIR = contract.CLASSES.index("hair")


@pytest.fixture
def person(editor):
    return editor.draw(1)


def test_the_first_step_is_the_face_itself(editor, person):
    (step,) = editor.edit(person, [])
    assert np.array_equal(step.latents, person.latents)
    assert step.cosine_to_start == pytest.approx(1)
    assert step.cosine_to_photo is None
    assert not step.personal


def test_a_seed_is_a_person(fake_bundle):
    bank = fake_bundle.identities
    first, again, other = (draw_person(bank, seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    identity = contract.high_level_row("identity")
    assert not (bank.codes[:, identity] == first[identity]).all(1).any()


def test_truncation_leads_to_the_mean_face(editor, person):
    bank = editor.bundle.identities
    assert np.allclose(truncated(person.latents, bank, 0), bank.codes.mean(0), atol=1e-6)
    assert np.allclose(truncated(person.latents, bank, 1), person.latents, atol=1e-5)
    step = editor.edit(person, ["truncation=0.5"])[1]
    assert np.allclose(step.latents, editor.draw(1, truncation=0.5).latents, atol=1e-5)


def test_a_part_of_another_face_changes_its_own_rows_alone(editor, person):
    step = editor.edit(person, ["hair=draw:7"])[1]
    changed = np.flatnonzero((step.latents != person.latents).any(1))
    assert list(changed) == [contract.shape_row(HAIR), contract.texture_row(HAIR)]
    assert np.array_equal(step.latents[changed], editor.draw(7).latents[changed])


def test_half_the_strength_goes_half_of_the_way(editor, person):
    whole, half = (editor.edit(person, [f"all=draw:7{at}"])[1].latents for at in ("", "@0.5"))
    assert np.allclose(half, (whole + person.latents) / 2, atol=1e-5)


def test_edits_add_up_in_the_order_given(editor, person):
    steps = editor.edit(person, ["all=draw:2", "hair=draw:3"])
    other = editor.draw(2).latents
    assert [step.label for step in steps] == ["start", "all=draw:2", "hair=draw:3"]
    nose = contract.shape_row(contract.CLASSES.index("nose"))
    assert np.array_equal(steps[2].latents[nose], other[nose])
    assert not np.array_equal(steps[2].latents, steps[1].latents)


def test_a_latents_file_is_read_before_any_edit_is_made(editor, person, fake_engines, tmp_path):
    fake_engines.calls.clear()
    with pytest.raises(PhotoError):
        editor.edit(person, ["hair=draw:7", f"eyes={tmp_path / 'missing.npz'}"])
    assert fake_engines.calls == []


def test_a_photograph_is_inverted_and_stays_personal(editor, photo):
    face = editor.from_photo(photo, steps=1)
    assert face.personal
    steps = editor.edit(face, ["hair=draw:7"])
    assert all(step.personal for step in steps)
    assert -1 <= steps[0].cosine_to_photo <= 1.0001


def test_a_part_of_a_photographed_person_makes_a_drawn_face_personal(editor, person, tmp_path):
    path = tmp_path / "face.npz"
    save_latents(path, editor.draw(5).latents, editor.bundle, personal=True)
    steps = editor.edit(person, ["hair=draw:7", f"eyes={path}", "hair=draw:8"])
    assert [step.personal for step in steps] == [False, False, True, True]
    assert editor.from_file(path).personal


def test_another_face_than_the_largest_can_be_taken(fakes, fake_bundle):
    faces = ((0.9, 10.0, 10.0), (0.5, 200.0, 190.0))
    editor = Editor(fake_bundle, engines=fakes.Engines(faces))
    image = fakes.draw_photo(faces=faces)
    largest, second = (editor.from_photo(image, face=n, steps=0) for n in (1, 2))
    assert not np.array_equal(largest.embedding, second.embedding)
    with pytest.raises(UsageError, match="Face 3 was asked for, the photograph has 2"):
        editor.from_photo(image, face=3, steps=0)


def test_a_photograph_without_a_face_is_refused(editor):
    with pytest.raises(RefusedError, match="No face was found"):
        editor.from_photo(np.zeros((320, 320, 3), np.uint8))


def test_negative_steps_are_refused(editor, photo):
    with pytest.raises(UsageError, match="steps must be 0 or more"):
        editor.from_photo(photo, steps=-1)


def test_in_place_changes_the_face_and_nothing_far_from_it(editor, photo):
    face = editor.from_photo(photo, steps=1)
    before = np.array(Image.open(photo))
    latents = editor.edit(face, ["person=draw:3"])[1].latents
    after = editor.in_place(face, latents)
    assert after.shape == before.shape
    middle = tuple(int(value) for value in face.subject.face.points[2][::-1])
    assert (after[middle] != before[middle]).any()
    assert np.array_equal(after[:20], before[:20])


def test_in_place_needs_a_photograph(editor, person):
    with pytest.raises(UsageError, match="Only the face of a photograph"):
        editor.in_place(person, person.latents)


def test_an_interpolation_passes_through_every_face(editor, person):
    steps = editor.edit(person, ["all=draw:2", "all=draw:3"])
    frames = editor.frames([step.latents for step in steps], 5)
    for frame, step in zip(frames[::2], steps, strict=True):
        assert np.array_equal(frame, step.look.image)
    assert not np.array_equal(frames[1], frames[0])
    with pytest.raises(UsageError, match="two faces and two frames"):
        editor.frames([person.latents], 5)


def test_a_silent_attributes_engine_leaves_the_face_and_says_so(editor, person):
    told: list[str] = []
    aim = editor.edit(person, ["pose=yaw:+15"], progress=lambda stage, done: told.append(stage))[1]
    assert np.array_equal(aim.latents, person.latents)
    assert aim.reached.stopped is not None
    assert set(told) == {"pose=yaw:+15", "measure the bank"}


@pytest.mark.slow
def test_the_packages_own_generator_exchanges_hair_and_leaves_the_mouth():
    editor = Editor(threads=1)
    before, after = editor.edit(editor.draw(2), ["hair=draw:9"])
    change = np.abs(after.look.image.astype(int) - before.look.image).mean(2)
    hair, mouth = (before.look.labels == contract.CLASSES.index(n) for n in ("hair", "mouth"))
    assert change[hair].mean() > 3 * change[mouth].mean()
    assert after.cosine_to_start > 0.8


@pytest.mark.slow
def test_the_packages_own_generator_turns_a_head():
    bundle = load_bundle()
    engines = OnnxEngines(bundle, threads=1)
    direction = Directions(bundle.identities, engines, people=40).along("yaw", lambda done: None)
    face = draw_person(bundle.identities, 2)
    before = look_at(face, engines)
    aim = Aim("yaw", -8)
    *_, reached = pursue(aim, face, before, direction, lambda w: look_at(w, engines))
    assert reached.after < reached.before - 4
