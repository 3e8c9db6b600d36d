"""The parser, embedder, attributes and perceptual networks: shapes, storing, training."""

import importlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from training_data import face, write_data, write_teachers

from vera import contract
from vera.errors import UsageError
from vera_export.models import attributes, embedder, parser, perceptual
from vera_export.models.convolution import ConvNorm, Residual, fold
from vera_export.training import augment, dataset
from vera_export.training.loop import Progress, Run, Schedule
from vera_export.training.teacher_graph import PERCEPTUAL, RECOGNISER
from vera_export.training.teachers import Differentiable, Labeller, last_sums

MODELS = {
    "parser": (parser.Parser, parser.ParserConfig, parser.load),
    "embedder": (embedder.Embedder, embedder.EmbedderConfig, embedder.load),
    "attributes": (attributes.Attributes, attributes.AttributesConfig, attributes.load),
    "perceptual": (perceptual.Perceptual, perceptual.PerceptualConfig, perceptual.load),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.mark.parametrize("name", MODELS)
def test_outputs_have_the_shapes_of_the_contract(name: str) -> None:
    build, config, _ = MODELS[name]
    spec = contract.ENGINES[name]
    shape = [2 if d is None else d for d in spec.inputs[0].shape]
    with torch.no_grad():
        found = build(config.tiny()).eval()(torch.rand(shape) * 2 - 1)
    found = found if isinstance(found, tuple) else (found,)
    assert [tuple(f.shape) for f in found] == [(2, *o.shape[1:]) for o in spec.outputs]
    assert all(f.dtype == torch.float32 for f in found)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_writes_weights_that_load_and_a_record_without_paths(
    name: str, data: Path, teachers: Path, tmp_path: Path
) -> None:
    training = importlib.import_module(f"vera_export.training.{name}")
    record = training.train(data, teachers, tmp_path, 1.0, 0, preset="tiny")
    model = MODELS[name][2](tmp_path / f"{name}.safetensors")
    stored = json.loads((tmp_path / f"{name}.json").read_text())
    assert stored["steps"] == record["steps"] == 4
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert str(data) not in json.dumps(stored)
    assert not list(tmp_path.glob("*.part"))


def test_a_run_resumes_from_its_unfolded_weights(data: Path, tmp_path: Path) -> None:
    training = importlib.import_module("vera_export.training.attributes")
    training.train(data, tmp_path, tmp_path, 1.0, 0, preset="tiny")
    weights = tmp_path / "attributes.training.safetensors"
    again = training.train(
        data, tmp_path, tmp_path / "again", 1.0, 0, preset="tiny", resume=weights
    )
    assert again["resumed"]


def falls(parameters: list[nn.Parameter], loss_of: object, rate: float) -> bool:
    """Whether one plain gradient step lowers the loss of the same batch."""
    assert callable(loss_of)
    before = loss_of()
    gradients = torch.autograd.grad(before, parameters, allow_unused=True)
    with torch.no_grad():
        length = sum(g.square().sum() for g in gradients if g is not None) ** 0.5
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= rate * gradient / length
    return bool(loss_of() < before)


def test_one_step_lowers_the_parser_loss(data: Path) -> None:
    from vera_export.training import parser as training

    torch.manual_seed(0)
    faces = dataset.read_faces(data, with_labels=True)
    recipe = training.ParserRecipe(batch=2)
    images, labels = training.draw_batch(faces, faces.train[:2], np.random.default_rng(0), recipe)
    model = parser.Parser(parser.ParserConfig.tiny())
    parameters = list(model.parameters())
    assert falls(
        parameters, lambda: training.parsing_losses(model(images), labels, 0.5)["loss"], 1e-2
    )


def test_one_step_lowers_the_attributes_loss(data: Path) -> None:
    from vera_export.training import attributes as training

    torch.manual_seed(0)
    faces = dataset.read_faces(data)
    crops, targets = training.draw_batch(faces, faces.train, np.random.default_rng(0))
    model = attributes.Attributes(attributes.AttributesConfig.tiny())
    recipe = training.AttributesRecipe()
    loss = lambda: training.attribute_losses(model, crops, targets, recipe)["loss"]  # noqa: E731
    assert falls(list(model.parameters()), loss, 1e-2)


def test_one_step_lowers_the_embedder_loss(data: Path, teachers: Path) -> None:
    from vera_export.training import embedder as training

    torch.manual_seed(0)
    faces = dataset.read_faces(data)
    images = training.draw_batch(faces, faces.train, 4, np.random.default_rng(0))
    teacher = Labeller(teachers / f"{RECOGNISER}.onnx")
    wanted = torch.from_numpy(training.unit(teacher(training.teacher_input(images))[0]))
    x = torch.from_numpy(augment.to_tensor_array(images))
    model = embedder.Embedder(embedder.EmbedderConfig.tiny())
    recipe = training.EmbedderRecipe()
    loss = lambda: training.embedding_losses(model(x), wanted, torch.zeros(()), recipe)["loss"]  # noqa: E731
    assert falls(list(model.parameters()), loss, 1e-2)


def test_one_step_lowers_the_perceptual_loss(data: Path, teachers: Path) -> None:
    from vera_export.training import perceptual as training

    torch.manual_seed(0)
    faces = dataset.read_faces(data, 128)
    teacher = Differentiable(teachers / f"{PERCEPTUAL}.onnx")
    model = perceptual.Perceptual(perceptual.PerceptualConfig.tiny())
    adapters = training.Adapters(model.config.taps, (4, 12, 16))
    objective = training.Objective(teacher, adapters, training.PerceptualRecipe())
    batch = training.draw_triples(faces.images, faces.train, 2, np.random.default_rng(0))
    parameters = [*model.parameters(), *adapters.parameters()]
    assert falls(parameters, lambda: objective(model, batch)["loss"], 3e-2)


def test_folding_batch_norms_leaves_the_function_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(ConvNorm(3, 8, stride=2, norm=True), Residual(8, norm=True))
    model(torch.randn(8, 3, 16, 16) * 3 + 1)  # give the norms statistics
    model.eval()
    x = torch.randn(2, 3, 16, 16)
    before = model(x)
    run = Run("model", tmp_path, {}, {}, {}, seed=0, resumed=False)
    run.save(model, Progress(1, 1.0, {}), {})
    model.eval()
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), "the original was changed"
    torch.testing.assert_close(fold(model)(x), before, atol=1e-5, rtol=1e-5)


def test_perceptual_features_pool_alike_in_training_and_in_export() -> None:
    model = perceptual.Perceptual(perceptual.PerceptualConfig.tiny())
    x = torch.rand(1, 3, 128, 128)
    for a, b in zip(model.train().features(x), model.eval().features(x), strict=True):
        torch.testing.assert_close(a, b)


def test_perceptual_distance_is_zero_for_the_same_image_and_grows_with_blur() -> None:
    torch.manual_seed(0)
    model = perceptual.Perceptual().eval()
    sharp = face(np.random.default_rng(1))
    images = [sharp, *(cv2.GaussianBlur(sharp, (0, 0), s) for s in (2, 6))]
    with torch.no_grad():
        taps = model(torch.from_numpy(augment.to_tensor_array(np.stack(images))))
    d = perceptual.distance([t[:1].expand(3, -1, -1, -1) for t in taps], taps, list(model.lin))
    assert d[0] == 0
    assert 0 < d[1] < d[2]


def test_soft_argmax_reads_a_sharp_peak_at_its_cell_centre() -> None:
    model = attributes.Attributes(attributes.AttributesConfig.tiny())
    heat = torch.full((1, 5, attributes.CELLS**2), -50.0)
    heat[0, :, 7 * attributes.CELLS + 3] = 50.0
    torch.testing.assert_close(model.points(heat)[0, 0], torch.tensor([13.5, 29.5]))


def test_points_follow_the_crop(data: Path) -> None:
    from vera_export.training import attributes as training

    faces = dataset.read_faces(data)
    draw = np.random.default_rng(3)
    for _ in range(5):
        matrix, degrees = training.random_crop(draw, 256)
        marked = np.zeros((256, 256, 3), np.uint8)
        marked[118:123, 96:101] = 255  # centre (98, 120)
        moved = augment.move_points(np.array([[98, 120]], np.float32), matrix)[0]
        crop = augment.warp(marked, matrix, 128, border=0)[..., 0].astype(float)
        y, x = np.mgrid[:128, :128]
        if crop.sum() > 500:
            centre = [(x * crop).sum() / crop.sum(), (y * crop).sum() / crop.sum()]
            np.testing.assert_allclose(moved, centre, atol=0.3)
        assert np.isclose(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])), degrees)
    assert faces.five[0, 0, 0] == pytest.approx(38 * 2.56, abs=0.1)


def test_ignored_pixels_do_not_count_in_the_parser_loss() -> None:
    from vera_export.training.parser import parsing_losses

    logits = torch.randn(1, 13, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, 4:] = augment.IGNORED
    other = logits.clone()
    other[:, :, 4:] += torch.randn(13, 4, 8)
    first, second = (parsing_losses(x, labels, 0.5)["loss"] for x in (logits, other))
    torch.testing.assert_close(first, second)


def test_inner_sums_of_a_teacher_are_found_by_size(teachers: Path) -> None:
    path = teachers / "identity_mobilefacenet.onnx"
    assert last_sums(path, (28, 7)) == [("sum28", 4), ("sum7", 4)]
    with pytest.raises(UsageError, match="56 px"):
        last_sums(path, (56,))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"index\.csv"):
        dataset.read_faces(tmp_path)
    with pytest.raises(UsageError, match=r"none\.onnx"):
        Labeller(tmp_path / "none.onnx")


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    schedule = Schedule(minutes=1, peak=1.0, warmup_steps=10)
    assert schedule.rate(0, 0) == pytest.approx(0.1)
    assert schedule.rate(100, 0) == pytest.approx(1.0)
    assert schedule.rate(100, 60) == pytest.approx(0.01)
