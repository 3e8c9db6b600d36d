"""The timed run trains with every term, keeps its limits, goes on, and needs little installed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_data import write_data, write_teachers

from vera.errors import UsageError
from vera_export.cli import main as command
from vera_export.models.attributes import Attributes, AttributesConfig
from vera_export.models.projected import ProjectedConfig
from vera_export.training import timed
from vera_export.training.adversarial import Fake
from vera_export.training.batches import Batches
from vera_export.training.checkpoint import LIMIT, gathered, read_checkpoint
from vera_export.training.generator import choose
from vera_export.training.networks import Networks
from vera_export.training.pack import write_pack
from vera_export.training.packed import read_pack
from vera_export.training.projected import ProjectedJudge
from vera_export.training.timed import Options, train_timed
from vera_export.training.trainer import Critics, Trainer

TINY = Options(preset="tiny", device="cpu")

_BARE = """
import sys
for name in ("cv2", "onnx", "onnxruntime", "safetensors", "scipy", "vera._C"):
    sys.modules[name] = None  # importing it raises ImportError
from vera_export.training.timed import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timed")
    write_pack(write_data(folder / "faces", 12), write_teachers(folder / "teachers"), folder)
    return folder


@pytest.fixture(scope="module")
def trained(pack: Path) -> Path:
    """A run of the smoke recipe with nothing installed but torch, NumPy and Pillow."""
    out = pack / "out"
    arguments = ["--data", str(pack), "--out", str(out), "--minutes", "0.05", "--preset", "tiny"]
    done = subprocess.run(
        [sys.executable, "-c", _BARE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_it_runs_with_torch_numpy_and_pillow_alone_and_uses_every_term(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["contrast"] is True
    assert summary["steps"] > 0
    assert summary["seconds"] >= 3
    assert {"discriminator", "projected"} <= set(read_modules(trained))


def read_modules(folder: Path) -> set[str]:
    return {name.split("/")[0] for name in read_checkpoint(folder)[0]}


def test_its_results_are_few_small_files_side_by_side(trained: Path) -> None:
    files = [path for path in trained.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"samples.png", "summary.json", "checkpoint.json"}
    assert len(files) <= 8
    assert all(path.parent == trained and path.stat().st_size <= LIMIT for path in files)


def test_it_goes_on_where_it_stopped(pack: Path, trained: Path, tmp_path: Path) -> None:
    _, before = read_checkpoint(trained)
    minutes = (before["seconds"] + 1.0) / 60
    summary = train_timed(pack, tmp_path, minutes, replace(TINY, resume=trained))
    assert summary["steps"] > before["steps"]
    assert set(summary["resumed"]) == read_modules(trained)
    assert read_checkpoint(tmp_path)[1]["seconds"] > before["seconds"]


def test_another_recipe_starts_its_own_schedule(pack: Path, trained: Path, tmp_path: Path) -> None:
    options = replace(TINY, resume=trained, recipe="reconstruction", settings={"batch": "2"})
    train_timed(pack, tmp_path, 0.01, options)
    _, state = read_checkpoint(tmp_path)
    assert state["recipe"] == "reconstruction"
    assert read_modules(tmp_path) == {"networks", "average"}


def test_stopping_early_does_not_shorten_the_schedule(pack: Path, tmp_path: Path) -> None:
    summary = train_timed(pack, tmp_path, 60, replace(TINY, stop_after=0.01))
    assert summary["seconds"] < 600
    assert read_checkpoint(tmp_path)[1]["recipe"] == "smoke"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "There is no pack"),
        (["--recipe", "best"], "no recipe 'best'"),
        (["--set", "colour"], "NAME=VALUE"),
        (["--resume", "nowhere"], "no checkpoint"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(
    arguments: list[str],
    said: str,
    pack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--data", str(pack), "--out", str(tmp_path / "out"), "--minutes", "0.01"]
    assert timed.main([*given, "--preset", "tiny", *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_tiny_networks_is_no_weights_for_a_bundle(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["weights", "--checkpoint", str(trained), "--out", str(tmp_path / "w")]) == 1
    assert "does not fit" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_projected_discriminator_steps_lower_its_loss_and_teach_the_generator(pack: Path) -> None:
    torch.manual_seed(0)
    held = read_pack(pack)
    batch = Batches(held, 0).rows(torch.arange(4))
    image = (torch.rand(4, 3, 256, 256) * 2 - 1).requires_grad_(True)
    fake = Fake(image, torch.rand(4, 13, 128, 128).softmax(1), torch.zeros(4, 13, 32, 32))
    recipe = choose("smoke", {})
    teacher = held.teachers["perceptual_squeezenet10"]
    judge = ProjectedJudge(teacher, recipe, config=ProjectedConfig.tiny())
    optimiser = torch.optim.Adam(judge.critic.parameters(), 1e-2, betas=(0.0, 0.99))
    seen = []
    for _ in range(8):
        loss = judge.discriminator_loss(batch, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]
    judge.generator_loss(fake).backward()
    assert float(image.grad.abs().sum()) > 0


def test_encoders_of_the_contrast_come_from_the_checkpoint(pack: Path, trained: Path) -> None:
    tensors, state = read_checkpoint(trained)
    assert state["attributes"] == list(AttributesConfig.tiny().widths)
    fresh = Attributes(AttributesConfig.tiny()).state_dict()
    assert {f"attributes/{name}" for name in fresh} <= set(tensors)


def test_a_run_that_is_over_before_its_first_report_still_has_a_curve(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "curves.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == json.loads((trained / "summary.json").read_text())["steps"]
    terms = {"pixel", "parts", "cycle", "mask_consistency", "against_projected", "discriminator"}
    assert terms <= set(rows[-1])


def tiny_trainer(pack: Path) -> Trainer:
    torch.manual_seed(0)
    recipe = choose("reconstruction", {"batch": "2", "warm_up_steps": "1"})
    return Trainer(Networks("tiny"), Critics(), Batches(read_pack(pack), 0), recipe)


def test_the_average_goes_on_after_a_resume(pack: Path) -> None:
    trainer = tiny_trainer(pack)
    held = gathered(trainer.modules())
    ones = {name: torch.ones_like(v) if "average" in name else v for name, v in held.items()}
    trainer.load(ones)
    trainer.step(0.5)
    weight = trainer.averaged.generator.fuse.detach()
    assert float((weight - 1).abs().max()) < 0.2  # one hundredth of the way to the networks


def test_a_checkpoint_without_networks_is_refused(pack: Path) -> None:
    with pytest.raises(UsageError, match="holds no networks"):
        tiny_trainer(pack).load({"average/x": torch.ones(1)})


def test_a_step_without_a_finite_gradient_changes_nothing(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = tiny_trainer(pack)
    before = {k: v.clone() for k, v in trainer.nets.state_dict().items()}
    monkeypatch.setattr("vera_export.training.trainer.pixel_loss", lambda image, _: image.sum() / 0)
    trainer.step(0.5)
    assert trainer.skipped == 1
    assert all(torch.equal(before[k], v) for k, v in trainer.nets.state_dict().items())


def test_a_schedule_that_is_over_is_said_to_be(pack: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is over"):
        train_timed(pack, tmp_path, 0.01, replace(TINY, resume=trained))
