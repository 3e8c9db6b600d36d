"""Bad photographs and masks through the command line and the real path, with drawn faces."""

import json
import re

import numpy as np
import pytest
from command_line import anonymize, images
from PIL import Image

from vera.anonymizer import Result
from vera.case.case import open_case
from vera.case.pipeline import anonymize_case
from vera.settings import Settings


class DrawnAnonymizer:
    """The real path with engines that know drawn faces only."""

    def __init__(self, bundle, engines) -> None:
        self.bundle, self._engines = bundle, engines

    def anonymize(self, photos, *, keep, seed, key, distinct_from, progress, **settings):
        case = open_case(photos, keep=keep, seed=seed, settings=Settings(**settings), key=key)
        done = anonymize_case(case, self._engines, self.bundle, progress, distinct_from)
        return [Result(outcome.image, outcome.report, outcome.person) for outcome in done]


@pytest.fixture
def drawn(fake_bundle, fake_engines):
    """Opens an anonymizer for drawn photographs, whatever the arguments."""
    return lambda bundle, threads: DrawnAnonymizer(fake_bundle, fake_engines)


def test_photo_in_photo_out_and_the_mouth_is_the_photograph(photo, out, drawn, capsys):
    code = anonymize(photo, "--keep", "mouth", "--out", out, "--steps", 1, open_anonymizer=drawn)
    told = capsys.readouterr()
    assert code == 0, told.err
    report = json.loads((out / "anon_1.json").read_text())
    assert report["verdict"] == "anonymized"
    assert report["keep"] == ["mouth"]
    assert report["kept"]["pixels_compared"] > 0
    before, after = np.asarray(Image.open(photo)), np.asarray(Image.open(out / "anon_1.png"))
    assert after.shape == before.shape
    assert (after != before).any()
    assert "anonymized   1" in told.out
    assert "jane_doe" not in told.out + told.err


def _no_face(folder):
    Image.new("RGB", (320, 320)).save(folder / "p.png")


def _no_image(folder):
    (folder / "p.png").write_text("no image")


def _truncated(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "whole.png")
    (folder / "p.png").write_bytes((folder / "whole.png").read_bytes()[:5000])


def _empty(folder):
    (folder / "p.png").write_bytes(b"")


def _animated(folder):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "p.gif", save_all=True, append_images=frames[1:])
    (folder / "p.gif").rename(folder / "p.png")


@pytest.mark.parametrize(
    ("make", "reason", "sentence"),
    [
        (_no_face, "no-face", "No face was found"),
        (_no_image, "unreadable-photo", "is not an image"),
        (_truncated, "unreadable-photo", "is damaged or cut short"),
        (_empty, "unreadable-photo", "is empty"),
        (_animated, "unreadable-photo", "is animated"),
    ],
)
def test_bad_photo_is_refused_with_a_sentence_and_no_image(
    tmp_path, out, drawn, capsys, make, reason, sentence
):
    make(tmp_path)
    assert anonymize(tmp_path / "p.png", "--out", out, open_anonymizer=drawn) == 3
    told = capsys.readouterr()
    assert re.search(f"photo 1: .*{sentence}", told.err)
    assert "p.png" not in told.err
    assert reason in told.out
    assert images(out) == []
    assert json.loads((out / "anon_1.json").read_text())["reason"] == reason


def test_decompression_bomb_is_refused_and_the_limit_can_be_set(photo, out, drawn, capsys):
    assert anonymize(photo, "--out", out, "--pixel-limit", 1000, open_anonymizer=drawn) == 3
    assert "320 x 320 pixels, more than the limit of 1000" in capsys.readouterr().err
    assert images(out) == []


def test_small_face_is_refused_with_its_size(photo, out, fake_bundle, fakes, capsys):
    engines = fakes.Engines(faces=((0.08, 150.0, 150.0),))
    code = anonymize(
        photo, "--out", out, open_anonymizer=lambda *_, **__: DrawnAnonymizer(fake_bundle, engines)
    )
    assert code == 3
    assert re.search(r"photo 1: The largest face is \d+ px high", capsys.readouterr().err)
    assert images(out) == []


def test_mask_of_another_size_is_refused(photo, out, drawn, tmp_path, capsys):
    Image.new("L", (10, 10), 255).save(tmp_path / "mask.png")
    code = anonymize(photo, "--keep", tmp_path / "mask.png", "--out", out, open_anonymizer=drawn)
    assert code == 3
    told = capsys.readouterr().err
    assert "is 10 x 10 pixels but the photograph is 320 x 320" in told
    assert "mask.png" not in told
    assert images(out) == []


def test_keeping_everything_is_refused(photo, out, drawn, tmp_path, capsys):
    Image.new("L", (320, 320), 255).save(tmp_path / "mask.png")
    code = anonymize(photo, "--keep", tmp_path / "mask.png", "--out", out, open_anonymizer=drawn)
    assert code == 3
    assert "keep less" in capsys.readouterr().err
    assert images(out) == []


def test_good_photos_are_done_beside_refused_ones(photo, out, tmp_path, capsys):
    _empty(tmp_path)
    assert anonymize(tmp_path / "p.png", photo, "--out", out) == 3
    assert [path.name for path in images(out)] == ["anon_2.png"]
