"""The refiner: what it may change, what it is trained on, and that training works."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera.errors import UsageError
from vera_export import parity
from vera_export.models import refiner as refiners
from vera_export.models.encoder import Encoder, EncoderConfig
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.refiner import Refiner, RefinerConfig
from vera_export.to_onnx import module_to_onnx
from vera_export.training import degradations, refiner
from vera_export.training.degradations import Composite, Compositor, Crops, read_portraits
from vera_export.training.refiner_losses import Critics, Objective, RefinerRecipe, View, fidelity

SIZE = contract.CROP_SIZE
RECIPE = RefinerRecipe(critics_from=0, adversarial_from=1)


def labels() -> npt.NDArray[np.uint8]:
    """A head with hair, a mouth and a nose."""
    found = np.zeros((SIZE, SIZE), np.uint8)
    for name, centre, axes in (
        ("hair", (128, 110), (88, 105)),
        ("skin", (128, 145), (68, 85)),
        ("nose", (128, 148), (11, 17)),
        ("mouth", (128, 186), (26, 9)),
    ):
        cv2.ellipse(found, centre, axes, 0, 0, 360, contract.CLASSES.index(name), -1)
    return found


def crop(side: int = SIZE, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth coloured noise."""
    noise = np.random.default_rng(seed).uniform(60, 200, (side // 8, side // 8, 3))
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def composite(seed: int, side: int = SIZE) -> Composite:
    """A crop with its blurred and tinted copy in the middle."""
    target = crop(side, seed)
    small = cv2.resize(target, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    mask = cv2.circle(np.zeros((SIZE, SIZE), np.float32), (128, 140), 80, 1, -1)
    blurred = cv2.GaussianBlur(small, (0, 0), 3) * 0.8
    image = np.where(mask[..., None] > 0, blurred, small).astype(np.uint8)
    return Composite(image, mask, target)


@pytest.fixture(scope="module")
def make() -> Compositor:
    torch.manual_seed(0)
    return Compositor(Generator(GeneratorConfig.tiny()), Encoder(EncoderConfig.tiny()))


class Teacher(nn.Module):
    """Two maps of a random convolution."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = torch.relu(self.conv(x / 128 - 1))
        return [y, functional.avg_pool2d(y, 2)]


def random_refiner() -> Refiner:
    torch.manual_seed(1)
    model = Refiner(RefinerConfig.tiny()).eval()
    nn.init.normal_(model.last.weight, std=0.3)
    return model


def test_nothing_changes_where_the_enlarged_mask_is_zero() -> None:
    image, mask = torch.rand(2, 3, 64, 64) * 2 - 1, torch.zeros(2, 1, 64, 64)
    mask[:, :, 20:40, 24:50] = 1
    with torch.no_grad():
        output = random_refiner()(image, mask)
    plain, allowed = (
        functional.interpolate(x, scale_factor=2, mode="bilinear") for x in (image, mask)
    )
    outside = (allowed == 0).expand_as(plain)
    torch.testing.assert_close(output[outside], plain[outside])
    assert (output - plain).abs()[~outside].mean() > 0.01


def test_training_starts_at_the_plain_enlargement() -> None:
    image, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    output = Refiner(RefinerConfig.tiny())(image, mask)
    plain = functional.interpolate(image, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(output, plain)


def test_size_of_the_default_network_fits_the_bundle() -> None:
    assert sum(p.numel() for p in Refiner().parameters()) < 1.2e6


def test_a_configuration_with_one_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        RefinerConfig((8,))


@pytest.mark.slow
def test_engine_agrees_with_the_network() -> None:
    model = random_refiner()
    engine = parity.session(module_to_onnx(model, contract.REFINER).SerializeToString())
    figures = parity.check_engine(engine, contract.REFINER, model, batches=(1, 3))
    assert figures["refined"]["share"] < 1


@pytest.mark.parametrize("side", [SIZE, 2 * SIZE])
def test_a_composite_has_the_surroundings_and_the_kept_region_of_the_crop(
    make: Compositor, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(degradations.augment, "degrade", lambda image, *_: image)
    monkeypatch.setattr(degradations, "_KEPT_CHANCES", {"mouth": 0.7})
    target, part = crop(side), labels()
    real = cv2.resize(target, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    kept = 0
    for seed in range(4):
        made = make(target, part, np.random.default_rng(seed))
        assert made.target is target
        outside = made.mask == 0
        np.testing.assert_array_equal(made.image[outside], real[outside])
        assert 0.1 < made.mask.mean() < 0.6
        assert (made.image != real).any(-1)[made.mask == 1].mean() > 0.9
        kept += bool(outside[part == contract.CLASSES.index("mouth")].all())
    assert 0 < kept < 4


def test_dots_repeat_and_leave_the_tone() -> None:
    pattern = degradations.dots(64, np.random.default_rng(3))
    assert 0 < np.abs(pattern).max() < 30
    assert abs(float(pattern.mean())) < 0.2
    grid = pattern.reshape(16, 4, 16, 4)
    assert np.abs(np.diff(grid, axis=0)).mean() < 0.5 * np.abs(pattern).mean()


def test_portraits_at_odd_places_are_never_trained_on(tmp_path: Path) -> None:
    entries = {}
    for k in range(5):
        image = np.full((128, 128, 3), 20 * k, np.uint8)
        cv2.imwrite(str(tmp_path / f"{k}.png"), image)
        points = [(48, 60), (80, 60), (64, 79), (50, 93), (78, 93)]
        entries[f"{k}.png"] = {"points": points}
    (tmp_path / "landmarks.json").write_text(json.dumps(entries))

    def parser(x: Tensor) -> Tensor:
        return functional.one_hot(torch.ones(1, SIZE, SIZE).long(), 13).permute(0, 3, 1, 2).float()

    even, odd = read_portraits(tmp_path, parser)  # type: ignore[arg-type]
    assert even.images[:, 0, 0, 0].tolist() == [0, 40, 80]
    assert odd.images[:, 0, 0, 0].tolist() == [20, 60]
    assert even.images.shape[1:] == (2 * SIZE, 2 * SIZE, 3)
    assert (odd.labels == 1).all()


def test_missing_portraits_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"landmarks\.json"):
        read_portraits(tmp_path, nn.Identity())


def view(change: Tensor, mask: Tensor) -> View:
    real = torch.zeros(1, 3, 32, 32)
    return View(real + change, real, mask)


def test_an_error_at_the_seam_costs_more_than_one_inside() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:] = 1
    seam, inside = (torch.zeros(1, 3, 32, 32) for _ in range(2))
    seam[..., 8:9], inside[..., 20:21] = 0.1, 0.1
    costs = [fidelity(view(x, mask), None, RECIPE) for x in (seam, inside)]
    assert costs[0]["edges"] > 2 * costs[1]["edges"]
    torch.testing.assert_close(costs[0]["pixel"], costs[1]["pixel"])


def test_steps_lower_the_loss_at_both_scales() -> None:
    torch.manual_seed(0)
    model = Refiner(RefinerConfig.tiny())
    objective = Objective(Critics(RECIPE), Teacher(), RECIPE)
    batch = [refiner.stack([composite(0)]), refiner.stack([composite(1, 2 * SIZE)])]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    seen = []
    for _ in range(6):
        terms = objective(model, batch)
        fit = terms["pixel"] + terms["edges"] + terms["perceptual"]
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        seen.append(float(fit.detach()))
    assert seen[-1] < 0.9 * seen[0]
    assert "adversarial" in terms


def test_critics_learn_to_tell_the_blurred_from_the_real() -> None:
    torch.manual_seed(0)
    critics = Critics(RECIPE)
    windows = refiner.stack([composite(k) for k in range(2)])
    pairs = [(critics.coarse, View(windows.image, windows.target, windows.mask))]
    seen = [float(critics.learn(pairs)) for _ in range(12)]
    assert seen[-1] < seen[0]


class Replayed:
    """In place of a pool: the same composites again and again."""

    def __init__(self, rows: list[Composite]) -> None:
        self.rows = rows

    def renew(self) -> None:
        """Nothing new."""

    def windows(self, count: int, side: int) -> refiner.Windows:
        return refiner.stack(self.rows)


def test_a_run_writes_weights_that_load_and_figures_of_held_out_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, portraits = [composite(0)], [composite(1, 2 * SIZE)]
    material = refiner.Material(
        Replayed(faces),  # type: ignore[arg-type]
        Replayed(portraits),  # type: ignore[arg-type]
        faces,
        portraits,
        {"kind": "drawn"},
    )
    monkeypatch.setattr(refiner, "read_material", lambda *_, **__: material)
    monkeypatch.setattr(refiner, "Differentiable", Teacher)
    out = tmp_path / "out"
    record = refiner.train(tmp_path, tmp_path, out, 1.0, 0, "tiny", resume=tmp_path)
    assert record["steps"] == json.loads((out / "refiner.json").read_text())["steps"] == 4
    assert record["data"] == {"kind": "drawn"}
    assert set(record["metrics"]) == {"val", "portraits_512"}  # type: ignore[call-overload]
    assert record["metrics"]["val"]["input_l1"] > 5  # type: ignore[index]
    model = refiners.load(out / "refiner.safetensors")
    assert model.config == RefinerConfig.tiny()
    assert list(out.glob("refiner_*.png"))


def test_a_run_without_a_trained_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resume"):
        refiner.train(tmp_path, tmp_path, tmp_path, 1.0, 0)


def test_pool_replaces_old_composites_and_cuts_windows_of_one_place(make: Compositor) -> None:
    images = np.stack([crop(2 * SIZE, k) for k in range(2)])
    pool = refiner.Pool(Crops(images, np.stack([labels()] * 2)), make, 2, 2, seed=0)
    for _ in range(2):
        pool.renew()
    windows = pool.windows(3, 64)
    assert windows.image.shape == (3, 3, 64, 64)
    assert windows.target.shape == (3, 3, 128, 128)
    outside = windows.mask.expand_as(windows.image) == 0
    real = functional.avg_pool2d(windows.target, 2)
    assert (windows.image - real).abs()[outside].median() < 0.1
