"""The flags of the other subcommands do something, and none is forgotten."""

import base64
import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from job_folder import run as run_job
from photo_reports import full_report, picture, write_output, write_outputs
from PIL import Image

from vera.cli import main
from vera.files.photo import read_photo

_TESTS = Path(__file__).parent
_EVERYWHERE = {"--help", "--debug"}  # test_cli.py and test_cli_flags.py

# Where the flags of each subcommand are tested; those of anonymize are in test_cli_flags.py.
FILES = {
    "report": ("test_page.py", "test_report_schema.py", "test_command_flags.py"),
    "rate export": ("test_agreement.py", "test_command_flags.py"),
    "rate kappa": ("test_agreement.py",),
    "demo": ("test_command_flags.py",),
    "check": ("test_check.py", "test_remote_crew.py"),
    "bundle show": (),
    "edit": ("test_edit_command.py",),
    "serve": ("test_serve.py", "test_serve_flags.py"),
    "bench": tuple(str(p.relative_to(_TESTS)) for p in _TESTS.glob("benchmark/test_*.py")),
    "evaluate": (
        "test_command_flags.py",
        *(str(path.relative_to(_TESTS)) for path in _TESTS.glob("evaluation/test_*.py")),
    ),
}


@pytest.fixture
def helped(capsys):
    """The help of a command."""

    def helped(*words: str) -> str:
        assert main([*words, "--help"]) == 0
        return capsys.readouterr().out

    return helped


def listed(text: str) -> set[str]:
    """The subcommands in a help."""
    return set(re.findall(r"^    ([a-z]+)\b", text, re.M))


def test_every_subcommand_is_here(helped):
    outer = listed(helped())
    inner = {f"{name} {word}" for name in ("rate", "bundle") for word in listed(helped(name))}
    assert outer - {"anonymize", "rate", "bundle"} | inner == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_no_flag_goes_without_a_test(helped, name):
    flags = set(re.findall(r"^  (?:-\w, )?(--[a-z][a-z-]*)", helped(*name.split()), re.M))
    assert "--debug" in flags
    texts = "\n".join((_TESTS / file).read_text("utf-8") for file in FILES[name])
    tested = set(re.findall(r"[\"' ](--[a-z][a-z-]*)[\"'= ]", texts))
    assert flags - tested - _EVERYWHERE == set()


def sides(page: Path) -> set[int]:
    """Longest sides of the pictures in a page."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", page.read_text("utf-8"))
    return {max(Image.open(io.BytesIO(base64.b64decode(text))).size) for text in found}


def test_html_is_where_the_page_is_written_and_side_the_size_of_its_pictures(out, tmp_path):
    write_outputs(out)
    page = tmp_path / "elsewhere.html"
    assert main(["report", str(out), "--html", str(page), "--side", "40"]) == 0
    assert not (out / "report.html").exists()
    assert sides(page) == {40}
    assert main(["report", str(out)]) == 0
    assert sides(out / "report.html") == {80}


def test_with_originals_shows_them_in_the_page(folder, out, tmp_path, capsys):
    run_job(folder, out)
    page = str(tmp_path / "private.html")
    assert main(["report", str(out), "--html", page, "--with-originals", str(folder)]) == 0
    assert "5 matched, 0 unmatched" in capsys.readouterr().out


def rows(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def export(out, tmp_path):
    """Runs ``vera rate export`` over an output folder; returns the folder of the sheets."""
    write_output(out, "case_1/anon_1", full_report(), picture(1))
    places = iter(range(9))

    def export(*arguments: str) -> Path:
        place = tmp_path / f"sheets{next(places)}"
        assert main(["rate", "export", str(out), "--out", str(place), *arguments]) == 0
        return place

    return export


def test_raters_is_the_number_of_sheets(export):
    folders = {path.name for path in export("--raters", "3").iterdir() if path.is_dir()}
    assert folders == {"rater_1", "rater_2", "rater_3"}


def test_crop_shows_the_surroundings_of_the_kept_region(export):
    shown = {
        read_photo(path).image.shape[:2]
        for arguments in ((), ("--crop", "kept"))
        for path in export(*arguments).glob("rater_1/images/*.png")
    }
    assert shown == {(80, 60), (40, 40)}


def test_question_scale_and_seed_reach_the_sheets(export):
    options = ["--question", "How red?", "--scale", "yes-no"]
    first, again, other = (export(*options, "--seed", seed) for seed in ("3", "3", "4"))
    assert "How red?" in (first / "rater_1/sheet.html").read_text("utf-8")
    assert {row["scale"] for row in rows(first / "key.csv")} == {"yes-no"}
    assert rows(first / "key.csv") == rows(again / "key.csv") != rows(other / "key.csv")


def outline(report: Path, top: int, bottom: int) -> None:
    """Makes the report of an output, 10 pixels wide, say that these rows are kept."""
    told = json.loads(report.read_text("utf-8"))
    told["kept"]["outline"] = [[[0, top], [9, top], [9, bottom], [0, bottom]]]
    report.write_text(json.dumps(told), "utf-8")


def test_originals_are_shown_in_their_kept_region_and_the_others_counted(
    folder, out, tmp_path, capsys
):
    run_job(folder, out)
    outline(out / "case_0001/anon_1.json", 8, 11)  # rows that the fake anonymizer keeps
    outline(out / "case_0002/anon_1.json", 0, 5)  # rows that it changes
    command = ["rate", "export", str(out), "--out", str(tmp_path / "sheets")]
    assert main([*command, "--with-originals", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "1 of them also as the kept region" in told
    assert "1 not: their original's region cannot be shown alone" in told


@pytest.fixture
def demonstrated(monkeypatch):
    """What ``vera demo`` was started with."""
    seen = {}

    def run_demo(anonymizer, engines, identities, out, *, seed, say):
        seen.update(out=out, seed=seed, **engines)
        return ()

    def opened(bundle, threads):
        seen.update(bundle=bundle, opened_threads=threads)
        return SimpleNamespace(bundle=SimpleNamespace(identities=None))

    monkeypatch.setattr("vera.demo.run_demo", run_demo)
    monkeypatch.setattr("vera.engines.OnnxEngines", lambda bundle, threads: {"threads": threads})

    def demonstrated(*arguments: str) -> dict:
        assert main(["demo", "--out", "there", *arguments], open_anonymizer=opened) == 0
        return seen

    return demonstrated


def test_flags_of_the_demo_reach_it(demonstrated):
    assert demonstrated("--seed", "5", "--bundle", "b", "--threads", "2") == {
        "out": Path("there"),
        "seed": 5,
        "bundle": Path("b"),
        "threads": 2,
        "opened_threads": 2,
    }


def test_bundle_and_seed_of_an_evaluation_reach_it(folder, tmp_path, fake_bundle, monkeypatch):
    seen = {}

    def opened(bundle, threads):
        seen["bundle"] = bundle
        return SimpleNamespace(bundle=fake_bundle)

    def evaluate(request, makers, matchers, **more):
        seen["seed"] = makers.seed
        return tmp_path / "report.md"

    monkeypatch.setattr("vera.evaluation.command.evaluate", evaluate)
    command = ["evaluate", str(folder), "--out", str(tmp_path / "evaluated"), "--modes", "single"]
    assert main([*command, "--bundle", "b", "--seed", "5"], open_anonymizer=opened) == 0
    assert seen == {"bundle": Path("b"), "seed": 5}
