import argparse
import json

import numpy as np
import pytest
from PIL import Image

from vera.cli import main
from vera.commands import edit
from vera.commands.parsing import FAILED, OK, USAGE
from vera.editing import command, load_latents
from vera.editing.earlier import remove_earlier
from vera.errors import PhotoError, RefusedError, UsageError


@pytest.fixture
def run(editor, out):
    """``vera edit`` with engines that are plain functions."""

    def run(*arguments, folder=out):
        parser = argparse.ArgumentParser()
        edit.add(parser.add_subparsers())
        args = parser.parse_args(["edit", *map(str, arguments), "--out", str(folder)])
        command.check(args)
        return command.carry_out(args, editor)

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    return np.array(Image.open(path))


def told(folder):
    return json.loads((folder / "edits.json").read_text())


def test_a_step_is_a_picture_and_all_of_them_a_strip(run, out, capsys):
    assert run("--draw", 1, "--edit", "hair=draw:7", "--edit", "truncation=0.7") == OK
    pictures = ["edited_0.png", "edited_1.png", "edited_2.png"]
    assert names(out) == [*pictures, "edits.json", "strip.png"]
    strip = read(out / "strip.png")
    assert strip.shape[1] == 3 * 256
    assert np.array_equal(strip[-256:, 256:512], read(out / "edited_1.png"))
    said = capsys.readouterr()
    assert "edited_1.png  hair=draw:7" in said.out
    assert said.err == "hair=draw:7 ...\ntruncation=0.7 ...\n"


def test_every_picture_is_marked_as_made_by_a_model(run, out):
    run("--draw", 1)
    for name in ("edited_0.png", "strip.png"):
        assert "TrainedAlgorithmicMedia" in Image.open(out / name).text["DigitalSourceType"]


def test_the_record_holds_what_was_done_and_measured(run, out):
    run("--draw", 1, "--edit", "pose=yaw:+15")
    record = told(out)
    start, step = record["steps"]
    assert (record["source"], record["shows_a_real_person"]) == ("draw", False)
    assert (start["edit"], start["changed"], start["aim"]) == ("start", None, None)
    assert step["aim"]["wanted"] == pytest.approx(step["aim"]["before"] + 15)
    assert step["changed"]["yaw"] == pytest.approx(
        step["measured"]["yaw"] - start["measured"]["yaw"]
    )
    assert "female" not in json.dumps(record)


def test_a_photograph_is_edited_with_a_warning_and_without_its_name(run, out, photo, capsys):
    assert run(photo, "--steps", 1, "--edit", "hair=draw:7") == OK
    said = capsys.readouterr()
    assert "they are not anonymised" in said.err
    assert told(out)["shows_a_real_person"]
    assert "jane" not in json.dumps(told(out)) + said.out + said.err


def test_fewer_steps_invert_less(run, photo, tmp_path):
    run(photo, "--steps", 0, folder=tmp_path / "none")
    run(photo, "--steps", 3, folder=tmp_path / "three")
    assert not np.array_equal(
        read(tmp_path / "none" / "edited_0.png"), read(tmp_path / "three" / "edited_0.png")
    )


def test_saved_latents_are_the_last_step_and_can_be_edited_on(run, editor, out, tmp_path, photo):
    path = tmp_path / "face.npz"
    run(photo, "--steps", 1, "--edit", "hair=draw:7", "--save-latents", path)
    _, personal = load_latents(path, editor.bundle)
    assert personal
    again = tmp_path / "again"
    run("--latents", path, folder=again)
    assert np.array_equal(read(again / "edited_0.png"), read(out / "edited_1.png"))
    assert told(again)["shows_a_real_person"]


def test_saved_latents_of_a_photograph_are_told_to_be_personal(run, photo, tmp_path, capsys):
    run(photo, "--steps", 0, "--save-latents", tmp_path / "face.npz")
    assert "rebuild that person's face" in capsys.readouterr().err


def test_truncation_of_a_drawn_person_leads_to_the_mean_face(run, tmp_path):
    for seed in (1, 2):
        run("--draw", seed, "--truncation", 0, folder=tmp_path / str(seed))
    first, second = (read(tmp_path / str(seed) / "edited_0.png") for seed in (1, 2))
    assert np.array_equal(first, second)


def test_another_face_of_the_photograph_is_taken_by_its_number(run, photo):
    with pytest.raises(UsageError, match="Face 2 was asked for, the photograph has 1"):
        run(photo, "--face", 2)


def test_an_interpolation_is_frames_and_one_animation(run, out):
    run("--draw", 1, "--to", "draw:2", "--to", "hair=draw:3", "--frames", 11)
    frames = sorted(out.glob("frame_*.png"))
    assert [path.name for path in frames] == [f"frame_{i:02}.png" for i in range(11)]
    assert np.array_equal(read(frames[0]), read(out / "edited_0.png"))
    with Image.open(out / "interpolation.webp") as animation:
        assert animation.n_frames == 11
    labels = [step["edit"] for step in told(out)["interpolation"]]
    assert labels == ["start", "all=draw:2", "hair=draw:3"]


def test_eight_frames_are_made_if_no_number_is_given(run, out):
    run("--draw", 1, "--to", "draw:2")
    assert len(list(out.glob("frame_*.png"))) == 8


def test_part_maps_are_written_if_asked_for(run, out):
    run("--draw", 1, "--edit", "hair=draw:7", "--segmentation")
    assert {"parts_0.png", "parts_1.png"} <= set(names(out))
    assert len(np.unique(read(out / "parts_0.png").reshape(-1, 3), axis=0)) > 5


def test_the_last_step_is_put_back_into_the_photograph(run, out, photo):
    run(photo, "--steps", 1, "--edit", "person=draw:7", "--in-place")
    placed, before = read(out / "in_place.png"), read(photo)
    assert placed.shape == before.shape
    assert (placed != before).any()


def test_earlier_edits_stay_unless_overwritten_as_a_whole(run, out):
    run("--draw", 1, "--edit", "hair=draw:7", "--segmentation")
    with pytest.raises(UsageError, match="holds 6 files of earlier edits"):
        run("--draw", 1)
    (out / "notes.txt").write_text("the user's own")
    run("--draw", 1, "--overwrite")
    assert names(out) == ["edited_0.png", "edits.json", "notes.txt", "strip.png"]


def test_the_record_lists_the_files_that_belong_to_it(run, out, photo):
    more = ("--segmentation", "--in-place", "--to", "draw:9", "--frames", 3)
    run(photo, "--steps", 1, "--edit", "hair=draw:7", *more)
    assert sorted([*told(out)["files"], "edits.json"]) == names(out)


def test_files_of_the_user_are_neither_deleted_nor_written_over(run, out):
    run("--draw", 1, "--edit", "hair=draw:7")
    (out / "frame_of_reference.png").write_text("the user's own")
    (out / "edited_99.png").write_text("the user's own")
    run("--draw", 1, "--overwrite")
    kept = {"frame_of_reference.png", "edited_99.png"}
    assert set(names(out)) == {"edited_0.png", "edits.json", "strip.png", *kept}
    (out / "frame_0.png").write_text("the user's own")
    with pytest.raises(UsageError, match="holds 1 files that are named like"):
        run("--draw", 1, "--to", "draw:2", "--frames", 2, "--overwrite")
    assert (out / "frame_0.png").read_text() == "the user's own"


def test_a_record_never_names_files_of_other_folders(out, tmp_path):
    (tmp_path / "photo.png").write_text("the user's own")
    out.mkdir()
    (out / "edits.json").write_text(json.dumps({"files": ["../photo.png", 3, "gone.png"]}))
    remove_earlier(out)
    (out / "edits.json").write_text(json.dumps({"files": ["../photo.png", "gone.png"]}))
    remove_earlier(out)
    assert (tmp_path / "photo.png").exists()
    assert names(out) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "One face is edited at a time, got 0"),
        (["--draw", 1, "--latents", "x.npz"], "One face is edited at a time, got 2"),
        (["--draw", 1, "--face", 2], "--face goes with a photograph"),
        (["--draw", 1, "--steps", 0], "--steps goes with a photograph"),
        (["--draw", 1, "--in-place"], "--in-place goes with a photograph"),
        (["a.jpg", "--truncation", 1], "--truncation goes with --draw"),
        (["--draw", 1, "--truncation", 2], "--truncation takes a number from 0"),
        (["--draw", 1, "--frames", 4], "--frames goes with --to"),
        (["--draw", 1, "--to", "draw:2", "--frames", 1], "--frames must be at least 2"),
        (["--draw", 1, "--save-latents", "x.npy"], "ends in .npz"),
        (["--draw", 1, "--edit", "beard=draw:1"], "no part 'beard'"),
        (["--draw", 1, "--to", "beard=draw:1"], "no part 'beard'"),
    ],
)
def test_a_request_that_makes_no_sense_is_a_usage_error(run, out, arguments, message):
    with pytest.raises(UsageError, match=message):
        run(*arguments)
    assert not out.exists()


def test_a_photograph_without_a_face_writes_nothing(run, out, tmp_path):
    Image.new("RGB", (320, 320)).save(tmp_path / "dark.png")
    with pytest.raises(RefusedError, match="No face was found"):
        run(tmp_path / "dark.png", "--save-latents", tmp_path / "face.npz")
    assert not out.exists()
    assert not (tmp_path / "face.npz").exists()


def test_a_photograph_above_the_pixel_limit_is_not_read(run, out, photo):
    with pytest.raises(PhotoError, match="more than the limit of 100"):
        run(photo, "--pixel-limit", 100)
    assert not out.exists()


def test_the_command_line_tells_a_mistake_in_one_sentence(out, capsys):
    assert main(["edit", "--draw", "1", "--edit", "beard=draw:1", "--out", str(out)]) == USAGE
    assert capsys.readouterr().err.startswith("vera: There is no part 'beard'; use one of ")


def test_the_bundle_and_the_threads_are_those_asked_for(bundle_folder, out, capsys):
    (bundle_folder / "manifest.json").unlink()
    arguments = ["--draw", "1", "--threads", "1", "--out", str(out)]
    assert main(["edit", *arguments, "--bundle", str(bundle_folder)]) == FAILED
    assert "There is no bundle here" in capsys.readouterr().err
    assert main(["edit", "--draw", "1", "--threads", "0", "--out", str(out)]) == USAGE
