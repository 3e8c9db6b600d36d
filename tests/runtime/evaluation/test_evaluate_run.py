"""The whole evaluation and its command, with drawn faces and a fake anonymizer."""

import csv
import json
import stat
import sys

import pytest
from inverting import Inverting
from PIL import Image

from vera.cli import main
from vera.errors import UsageError
from vera.evaluation.earlier import remove_results
from vera.evaluation.matchers import own_matcher
from vera.evaluation.people import collect_people
from vera.evaluation.rows import Makers
from vera.evaluation.run import Request, evaluate, region_name
from vera.evaluation.statistics import require_extra

NAMES = ("jane_1", "jane_2", "mary_1", "mary_2")


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
    assert (figures["settings"]["steps"], figures["settings"]["hair"]) == (2, "keep")
    report = (out / "report.md").read_text()
    assert "A note." in report
    assert "steps 2" in report
    assert "preserve expression+age+skin-tone" in report
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
    # Of the two pairs one has a single output: it is no pair that can be followed.
    assert figures["estimates"]["input"]["within/vera-embedder"]["count"] == 2
    assert single["within_all/vera-embedder"]["count"] == 2
    assert (
        single["within_all/vera-embedder"]["mean"] == 0.5 * single["within/vera-embedder"]["mean"]
    )
    table = figures["tables"]["pairs"]
    line = next(row for row in table["rows"] if row[0] == "vera standard" and row[1] == "single")
    assert line[table["columns"].index("of all %")]["mean"] == 50
    assert line[table["columns"].index("match %")]["mean"] == 100
    assert figures["reasons"]["vera-standard-single"] == {"no-face": 1}


def test_nothing_that_identifies_is_written(run, out):
    run(Inverting(), baselines=("pixelate",))
    for path in out.rglob("*"):
        assert "jane" not in path.name
        if path.suffix in (".md", ".json", ".csv"):
            text = path.read_text()
            assert not {"jane", "mary", "smith_ward"} & set(text.replace("_", " ").split())
    assert not (out / "sheets").exists()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_must_not_be_passed_on_is_told_and_for_its_owner_alone(run, out):
    run(Inverting(), baselines=("blur",), sheets=True, keep=("none",))
    report = (out / "report.md").read_text()
    assert "show the originals" in report
    assert "(blur) passed no gate" in report
    sheets = list((out / "sheets").glob("*.jpg"))
    assert len(sheets) == 3
    assert {mode(sheet) for sheet in sheets} == {0o600}
    assert mode(out / "sheets") == mode(out / "outputs" / "blur-standard") == 0o700
    remove_results(out)
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == ["outputs"]


def test_nothing_of_an_earlier_run_stays_beside_a_new_report(run, out):
    run(Inverting(), baselines=("blur",), sheets=True, keep=("none",))
    stale = [out / "tables" / "calibration.csv", out / "plots" / "7_pairs.png"]
    own = [out / "tables" / "mine.csv", out / "plots" / "mine.png"]
    for path in (*stale, *own):
        path.write_text("of an earlier run")
    run(Inverting(), keep=("none",))
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in own)
    assert not (out / "sheets").exists()
    report = (out / "report.md").read_text()
    assert "show the originals" not in report
    assert "(blur) passed no gate" in report  # the baseline's pictures are still there


def test_the_warning_stays_as_long_as_the_sheets_folder_does(run, out):
    (out / "sheets").mkdir(parents=True)
    (out / "sheets" / "notes.txt").write_text("the user's own")
    run(Inverting(), keep=("none",))
    assert [path.name for path in (out / "sheets").iterdir()] == ["notes.txt"]
    report = (out / "report.md").read_text()
    assert "show the originals" in report
    assert "passed no gate" not in report


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
        (("--frame", "crop"), "at the same place"),
        (("--background", "regenerate"), "needs frame"),
        (("--keep-margin", "wide"), "is no margin"),
        (("--independent", "face"), "--independent names 'face'"),
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
