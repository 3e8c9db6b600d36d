"""``vera evaluate`` through the command line: its flags reach what they are for."""

import json

import numpy as np
import pytest
from inverting import Inverting
from judge_models import write_model
from PIL import Image

from vera.cli import main
from vera.evaluation import command as evaluation

NAMES = ("jane_1", "jane_2", "mary_1", "mary_2")


@pytest.fixture
def folder(tmp_path, fakes):
    """Two photographs each of two people."""
    folder = tmp_path / "smith_ward"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        pixels = np.roll(fakes.draw_photo(seed // 2), seed, axis=1)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def evaluate(folder, out, fake_bundle, fake_engines, monkeypatch):
    """Runs the command with a fake anonymizer and engines; gives the calls and the figures."""
    monkeypatch.setattr(evaluation, "OnnxEngines", lambda bundle, threads: fake_engines)

    def evaluate(*more):
        anonymizer = Inverting()
        anonymizer.bundle = fake_bundle
        fixed = ["--out", out, "--pairs-by", "prefix", "--modes", "paired", "--keep", "mouth"]
        arguments = ["evaluate", folder, *fixed, *more]
        opened = lambda bundle, threads: anonymizer  # noqa: E731
        assert main([str(one) for one in arguments], open_anonymizer=opened) == 0
        return anonymizer.calls, json.loads((out / "figures.json").read_text())

    return evaluate


@pytest.fixture
def judge(tmp_path):
    """A recogniser whose range nobody has told."""
    return write_model(tmp_path / "face.onnx")


def test_settings_reach_the_anonymizer_and_defaults_are_not_passed(evaluate):
    calls, figures = evaluate()
    assert all(options == {} for *_, options in calls)
    more = ("--hair", "regenerate", "--background", "blur", "--preserve", "none", "--steps", "4")
    more += ("--keep-margin", "2px", "--method", "margin", "--faces", "largest")
    calls, figures = evaluate(*more)
    wanted = {"hair": "regenerate", "background": "blur", "preserve": (), "steps": 4}
    wanted |= {"keep_margin": "2px", "method": "margin", "faces": "largest"}
    assert len(calls) == 2  # the outputs of before are of other settings
    assert all(options == wanted for *_, options in calls)
    assert figures["settings"]["method"] == "margin"


def test_baselines_and_sheets_are_made_when_asked_for(evaluate, out):
    _, figures = evaluate("--baselines", "blur", "pixelate", "--sheets")
    assert [row["key"] for row in figures["rows"]][1:] == ["blur-mouth", "pixelate-mouth"]
    assert len(list((out / "outputs" / "blur-mouth").glob("*.png"))) == 4
    assert len(list((out / "sheets").glob("*.jpg"))) == 3


def test_calibration_writes_the_judges_card_and_is_told(evaluate, folder, judge, capsys):
    more = ("--judge", judge, "--judge-values=-1..1", "--independent", "face")
    _, figures = evaluate(*more, "--calibrate", folder, "--false-accept-rate", "0.3")
    card = json.loads(judge.with_suffix(".json").read_text())
    first = figures["matchers"][0]
    assert card["values"] == "-1..1"
    assert card["threshold"] == first["threshold"]
    assert first["role"].startswith("Independent of VerA's training by the word of")
    told = figures["calibrations"][1]
    assert (told["name"], told["impostor_pairs"], told["genuine_pairs"]) == ("face", 4, 2)
    assert "calibrated on the evaluated photographs themselves" in figures["notes"][0]
    assert "card of face" in capsys.readouterr().err
    # A later run takes range and threshold from the card.
    _, later = evaluate("--judge", judge)
    assert later["matchers"][0]["threshold"] == first["threshold"]
    assert later["matchers"][0]["role"].startswith("Not stated")


def test_a_judge_measures_with_the_range_that_is_given(evaluate, judge):
    cosines = []
    for values in ("0..255", "-1..1"):
        more = ("--judge", judge, f"--judge-values={values}", "--judge-threshold", "0.5")
        cosines.append(evaluate(*more)[1]["estimates"]["vera-mouth-paired"]["cosine/face"]["mean"])
    assert cosines[0] != pytest.approx(cosines[1], abs=1e-3)


def test_the_help_says_how_a_negative_range_is_written(capsys):
    assert main(["evaluate", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "(=-1..1)" in told
    assert "it only measures here" in told
