"""The quality report from end to end, on tiny random networks and a made data folder."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from report_inputs import write_faces, write_photographs, write_teachers

from vera import contract
from vera.bundle import load_bundle
from vera.engines import OnnxEngines
from vera.errors import UsageError
from vera.identity.inversion import InversionConfig
from vera.pixels.align import FFHQ
from vera_export.cli import main
from vera_export.evaluation.inversions import InversionErrors
from vera_export.evaluation.photographs import survey
from vera_export.evaluation.pictures import EDITS, code_rows, grid
from vera_export.evaluation.readings import Teachers
from vera_export.evaluation.report import BEGIN, END, check_card, fill_card, table
from vera_export.evaluation.run import network_figures

CARD = f"# Card\n\nWritten by hand.\n\n{BEGIN}\nold figures\n{END}\n\nNot to be used.\n"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> list[str]:
    folder = tmp_path_factory.mktemp("report")
    data = write_faces(folder / "faces", train=8, val=2)
    teachers = write_teachers(folder / "teachers")
    given = {"--data": data, "--teachers": teachers, "--bundle": tiny_bundle, "--preset": "tiny"}
    return ["evaluate", "--threads", "1", *(str(x) for pair in given.items() for x in pair)]


@pytest.fixture(scope="module")
def folder(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with photographs and a model card."""
    made = tmp_path_factory.mktemp("written")
    photographs = write_photographs(made / "pairs", people=2)
    (made / "card.md").write_text(CARD)
    more = ["--photographs", str(photographs), "--model-card", str(made / "card.md")]
    assert main([*command, *more, "--out", str(made / "out")]) == 0
    return made


def test_every_figure_is_there_and_finite(folder: Path) -> None:
    report = json.loads((folder / "out" / "report.json").read_text())
    assert {"frechet", "mask_agreement", "inversion", "diversity", "disentanglement", "parser",
            "attributes", "embedder", "photographs"} <= set(report)  # fmt: skip
    numbers = [x for x in _leaves(report) if isinstance(x, float)]
    assert len(numbers) > 60
    assert np.isfinite(numbers).all()


def test_photographs_are_counted_and_pairs_known(folder: Path) -> None:
    report = json.loads((folder / "out" / "report.json").read_text())
    found = report["photographs"]["pairs"]
    assert found["photographs"] == 4
    assert found["embedder"]["same_pairs"] == 2
    assert found["embedder"]["teacher"]["same"]["smallest"] > 0.9


def test_report_names_no_photograph(folder: Path) -> None:
    written = (folder / "out" / "report.json").read_text() + (folder / "card.md").read_text()
    assert "neutral" not in written.replace('"neutral"', "")
    assert ".jpg" not in (folder / "out" / "report.json").read_text()


def test_pictures_show_the_generator_only_and_are_small(folder: Path) -> None:
    for name in ("samples", "edits", "interpolations"):
        assert cv2.imread(str(folder / "out" / f"{name}.png")) is not None
        assert (folder / f"model-{name}.jpg").stat().st_size < 300_000


def test_hand_written_part_of_the_card_stays(folder: Path) -> None:
    card = (folder / "card.md").read_text()
    assert card.startswith("# Card\n\nWritten by hand.\n")
    assert card.endswith("Not to be used.\n")
    assert "old figures" not in card
    assert "DS" in card


def test_same_seed_gives_the_same_report_and_says_that_photographs_are_missing(
    command: list[str], folder: Path, tmp_path: Path
) -> None:
    assert main([*command, "--out", str(tmp_path)]) == 0
    first, again = (json.loads((f / "report.json").read_text()) for f in (folder / "out", tmp_path))
    assert again["photographs"] == {}
    assert {k: v for k, v in again.items() if k != "photographs"} == {
        k: v for k, v in first.items() if k != "photographs"
    }
    assert "No photographs were given" in (tmp_path / "report.md").read_text()


def test_too_few_faces_are_refused_with_the_number_needed(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_faces(tmp_path / "few", train=3, val=2)
    changed = [str(few) if word.endswith("faces") else word for word in command]
    assert main([*changed, "--out", str(tmp_path / "out")]) == 1
    assert "needs 8 training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_card_without_markers_is_refused_before_anything_is_measured(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Card\n")
    assert main([*command, "--out", str(tmp_path / "out"), "--model-card", str(card)]) == 1
    assert "once each" in capsys.readouterr().err
    assert card.read_text() == "# Card\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_markers_must_be_there_once_and_in_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.md").write_text(text)
    with pytest.raises(UsageError, match="once each"):
        check_card(tmp_path / "card.md")


def test_filling_a_card_twice_changes_nothing(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text(CARD)
    fill_card(card, "figures")
    once = card.read_text()
    fill_card(card, "figures")
    assert card.read_text() == once


def test_a_table_writes_three_digits_and_a_dash_for_what_is_missing() -> None:
    text = table(("a", "b"), [("x", 0.12345), ("y", None), ("z", 1234.5)])
    assert text.splitlines()[2:] == ["| x | 0.123 |", "| y | - |", "| z | 1234 |"]


def test_each_edit_exchanges_rows_that_no_other_does() -> None:
    rows = [row for name in EDITS[1:] for row in code_rows(name)]
    assert len(rows) == len(set(rows)) == len(contract.HIGH_LEVEL) + 2 * 6


def test_a_grid_has_tiles_of_128_pixels_under_its_captions() -> None:
    tile = np.zeros((256, 256, 3), np.uint8)
    assert grid([[tile] * 3] * 2).shape == (256, 384, 3)
    assert grid([[tile] * 3] * 2, ("a", "b", "c")).shape == (272, 384, 3)


def test_networks_are_counted_with_what_is_known_of_their_training(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros((3, 4), np.float16), "b": np.zeros(5)}, tmp_path / "one.safetensors")
    save_file({"a": np.zeros(9)}, tmp_path / "one.training.safetensors")
    (tmp_path / "one.json").write_text('{"steps": 7, "seconds": 90.0, "seed": 2}')
    assert network_figures(tmp_path) == {
        "one": {"parameters": 17, "steps": 7, "minutes": 1.5, "seed": 2}
    }


class Seeing:
    """Tiny engines whose detector and attribute network answer with the template's points.

    The detector also reports a second face, which nobody asked for.
    """

    def __init__(self, bundle: Path) -> None:
        self._engines = OnnxEngines(load_bundle(bundle), threads=1)
        self.layout, self.gradient = self._engines.layout, self._engines.gradient

    def run(self, name: str, **inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        if name == "detector":
            scale = inputs["photo"].shape[3] / 256
            points = np.stack([FFHQ.points, FFHQ.points * 0.2])[None] * scale
            low, high = points.min(2) - 20 * scale, points.max(2) + 20 * scale
            boxes = np.concatenate([low, high], 2)
            found = {"scores": np.array([[0.99, 0.9]]), "boxes": boxes, "points": points}
            return {k: v.astype(np.float32) for k, v in found.items()}
        outputs = self._engines.run(name, **inputs)
        if name == "attributes":
            outputs["points"] = ((FFHQ.points[None] + 0.5) / 2 - 0.5).astype(np.float32)
        return outputs


def test_a_found_face_is_measured_and_a_face_that_is_not_there_counted(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    engines = Seeing(tiny_bundle)
    photographs = write_photographs(tmp_path / "pairs", people=1)
    teachers = Teachers(write_teachers(tmp_path / "teachers"))
    errors = InversionErrors(engines, load_bundle(tiny_bundle), InversionConfig(steps=2))
    found = survey(photographs, engines, teachers, errors, inversions=1)
    assert found["detector"]["recall"] == 1
    assert found["detector"]["false_detections"] == 2
    assert found["detector"]["points_percent"] < 1
    assert found["detector"]["points_percent_refined"] < 1
    inversion = found["inversion"]
    assert (inversion["faces"], inversion["mean_steps"]) == (1, 2)
    assert inversion["inverted"]["perceptual"] < inversion["encoder"]["perceptual"]


def _leaves(tree: object) -> list[object]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    return [tree]
