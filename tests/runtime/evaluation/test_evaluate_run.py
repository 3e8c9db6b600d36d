"""The whole evaluation and its command, with drawn faces and a fake anonymizer."""

import csv
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vera.cli import main
from vera.errors import UsageError
from vera.evaluation.matchers import own_matcher
from vera.evaluation.people import collect_people
from vera.evaluation.rows import Makers
from vera.evaluation.run import Request, evaluate, region_name
from vera.evaluation.statistics import require_extra
from vera.report import BundleReport, PhotoReport

NAMES = ("jane_1", "jane_2", "mary_1", "mary_2")


class Inverting:
    """Turns photographs into negatives above the mouth; refuses the calls that it is told to."""

    def __init__(self, refused=()):
        self.calls, self.refused = [], refused

    def anonymize(self, photos, *, keep, seed, **options):
        self.calls.append((len(photos), keep, seed, options))
        mode = "paired" if len(photos) > 1 else "single"
        bundle = BundleReport("fake", "0", {})
        spent = {"find": 5.0, "invert": 50.0}
        if len(self.calls) in self.refused:
            report = PhotoReport("refused", mode, seed, bundle, "no-face", "None was found.")
            return [SimpleNamespace(image=None, report=report) for _ in photos]
        results = []
        for path in photos:
            image = np.asarray(Image.open(path)).copy()
            image[:180] = 255 - image[:180]
            report = PhotoReport("anonymized", mode, seed, bundle, milliseconds=spent)
            results.append(SimpleNamespace(image=image, report=report))
        return results


@pytest.fixture
def folder(tmp_path, fakes):
    """Two photographs each of two people whose names must not be told."""
    folder = tmp_path / "smith_ward"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        Image.fromarray(fakes.draw_photo(seed // 2)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(folder, out, fake_bundle, fake_engines):
    """Runs an evaluation and returns its figures."""

    def run(anonymizer, baselines=(), sheets=False, keep=("mouth", "none")):
        people = collect_people(folder, pairs_by="prefix", out=out)
        request = Request(people, keep, ("single", "paired"), out, baselines, sheets)
        makers = Makers(anonymizer, fake_engines, fake_bundle, seed=3, options={"steps": 2})
        matchers = [own_matcher(fake_bundle, fake_engines)]
        lines = []
        report = evaluate(request, makers, matchers, notes=["A note."], say=lines.append)
        assert report == out / "report.md"
        return json.loads((out / "figures.json").read_text())

    return run


def test_every_row_is_made_measured_and_told(run, out):
    anonymizer = Inverting()
    figures = run(anonymizer, baselines=("blur",))
    assert [(count, keep) for count, keep, *_ in anonymizer.calls] == (
        [(1, "mouth")] * 4 + [(2, "mouth")] * 2 + [(1, "none")] * 4 + [(2, "none")] * 2
    )
    assert all(options == {"steps": 2} for *_, options in anonymizer.calls)
    assert [row["key"] for row in figures["rows"]] == [
        *("vera-mouth-single", "vera-mouth-paired"),
        *("vera-standard-single", "vera-standard-paired", "blur-mouth", "blur-standard"),
    ]
    estimates = figures["estimates"]
    assert estimates["vera-mouth-paired"]["deidentified/vera-embedder"]["mean"] == 1
    assert estimates["vera-mouth-single"]["exact/mouth"]["mean"] == 1
    assert estimates["input"]["within/vera-embedder"]["mean"] == 1
    assert estimates["vera-mouth-single"]["ms/invert"]["mean"] == 50
    assert figures["tables"]["seconds"]["rows"]
    report = (out / "report.md").read_text()
    assert "A note." in report
    for table in (out / "tables").iterdir():
        lines = csv.reader(table.read_text().splitlines())
        assert len({len(line) for line in lines}) == 1
    for line in report.splitlines():
        if line.startswith("!["):
            assert (out / line.split("(")[1].rstrip(")")).is_file()


def test_a_second_run_makes_nothing_again(run):
    first = run(Inverting(), keep=("none",))
    again = Inverting()
    second = run(again, keep=("none",))
    assert again.calls == []
    assert second["estimates"] == first["estimates"]


def test_rows_of_earlier_runs_are_combined(run):
    run(Inverting(), keep=("mouth",))
    later = Inverting()
    figures = run(later, keep=("mouth", "none"))
    assert {keep for _, keep, *_ in later.calls} == {"none"}
    assert len(figures["rows"]) == 4


def test_a_refusal_counts_as_not_deidentified_of_all(run):
    figures = run(Inverting(refused=(1,)), keep=("none",))
    single = figures["estimates"]["vera-standard-single"]
    assert single["deidentified/vera-embedder"]["mean"] == 1
    assert single["deidentified/vera-embedder"]["count"] == 3
    assert single["protected/vera-embedder"]["mean"] == 0.75
    assert single["within/vera-embedder"]["count"] == 1
    assert figures["reasons"]["vera-standard-single"] == {"no-face": 1}


def test_nothing_that_identifies_is_written(run, out):
    run(Inverting(), baselines=("pixelate",))
    for path in out.rglob("*"):
        assert "jane" not in path.name
        if path.suffix in (".md", ".json", ".csv"):
            text = path.read_text()
            assert not {"jane", "mary", "smith_ward"} & set(text.replace("_", " ").split())
    assert not (out / "sheets").exists()


def test_sheets_are_warned_of(run, out):
    run(Inverting(), sheets=True, keep=("none",))
    assert len(list((out / "sheets").glob("*.jpg"))) == 2
    assert "show the originals" in (out / "report.md").read_text()


def test_regions_are_names():
    assert region_name("standard") == "none"
    assert region_name("brows+eyes") == "eyes,brows"
    with pytest.raises(UsageError, match="named regions only"):
        region_name("polygon:1,1 5,1 5,5")


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'run: pip install "vera\[evaluate\]"'):
        require_extra()


def command(folder, out, *more):
    return main(["evaluate", str(folder), "--out", str(out), "--pairs-by", "prefix", *more])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--keep", "chin"), "is no region to keep"),
        (("--peer", "other"), "NAME=DIR"),
        (("--judge", "missing.onnx"), "cannot be read"),
        (("--judge-threshold", "0.3", "--calibrate", "."), "give one of them"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_sentence(folder, out, capsys, more, sentence):
    assert command(folder, out, *more) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_pairs_are_missed_before_anything_is_made(folder, out, capsys):
    assert command(folder, out, "--limit", "1", "--modes", "single", "--peer", "x") == 2
    assert main(["evaluate", str(folder), "--out", str(out), "--modes", "paired"]) == 2
    assert "Nobody in the folder has two photographs" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_the_command_evaluates_the_bundle(folder, out, capsys):
    more = ("--limit", "1", "--steps", "0", "--threads", "1", "--keep", "mouth")
    assert command(folder, out, *more, "--modes", "paired") == 0
    assert "report.md" in capsys.readouterr().out
    figures = json.loads((out / "figures.json").read_text())
    assert figures["people"] == {
        "people": 1,
        "photographs": 2,
        "people_with_pairs": 1,
        "pairs": 1,
    }
    found = figures["estimates"]["vera-mouth-paired"]
    assert found["written"]["count"] == 2
    assert found["exact/mouth"]["mean"] == 1
