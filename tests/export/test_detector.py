"""The detector: decoding, targets, scenes and training, on cartoon faces."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vera import contract
from vera.errors import UsageError
from vera_export.models.detector import CHANNELS, Detector, DetectorConfig, decode, load
from vera_export.training import dataset, detector
from vera_export.training.backgrounds import Backgrounds
from vera_export.training.corruptions import corrupt
from vera_export.training.pasting import Crop
from vera_export.training.scenes import Scene, SceneMaker

FIVE = np.array([[96, 120], [160, 120], [128, 157], [101, 186], [156, 186]], np.float32)


def cartoon(draw: np.random.Generator) -> Crop:
    """A head with a dark dot on each of the five points, of a size like a real crop's."""
    image = np.full((256, 256, 3), draw.integers(0, 256, 3), np.uint8)
    labels = np.zeros((256, 256), np.uint8)
    cv2.ellipse(image, (128, 150), (62, 84), 0, 0, 360, (220, 170, 140), -1)
    cv2.ellipse(labels, (128, 150), (62, 84), 0, 0, 360, 1, -1)
    for x, y in FIVE.astype(int):
        cv2.circle(image, (int(x), int(y)), 7, (20, 10, 10), -1)
    turn = np.linspace(0, 2 * np.pi, 468)
    mesh = np.stack((128 + 62 * np.cos(turn), 150 + 84 * np.sin(turn)), -1).astype(np.float32)
    return Crop(image, labels, mesh, FIVE)


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    draw = np.random.default_rng(0)
    return [cartoon(draw) for _ in range(4)]


@pytest.fixture
def data(crops: list[Crop], tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    columns = ("id", "split", *dataset.ATTRIBUTE_COLUMNS)
    lines = [",".join(columns)]
    for k, crop in enumerate(crops):
        cv2.imwrite(str(folder / "images" / f"{k}.jpg"), crop.image)
        cv2.imwrite(str(folder / "labels" / f"{k}.png"), crop.labels)
        lines.append(",".join([str(k), "val" if k == 0 else "train", *["0"] * (len(columns) - 2)]))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    five, mesh = np.stack([c.five for c in crops]), np.stack([c.mesh for c in crops])
    np.savez(folder / "landmarks.npz", five=five, facemesh=mesh)
    return folder


def scene_of_one(size: int = 96) -> Scene:
    box = np.array([[20, 30, 60, 86]], np.float32)
    points = (np.array([20, 30]) + FIVE / 256 * np.array([40, 56]))[None].astype(np.float32)
    return Scene(np.zeros((size, size, 3), np.uint8), box, points, np.ones(1, np.bool_))


def test_outputs_have_the_shapes_of_the_contract() -> None:
    model = Detector(DetectorConfig.tiny()).eval()
    out = model(torch.zeros(2, 3, 64, 96))
    assert [tuple(t.shape) for t in out] == [(2, 96), (2, 96, 4), (2, 96, 5, 2)]
    assert len(out) == len(contract.DETECTOR.outputs)


def test_cells_are_decoded_row_by_row_around_their_centres() -> None:
    raw = torch.zeros(1, CHANNELS, 2, 3)
    raw[0, 0, 1, 2] = 2.0
    raw[0, 1, 1, 2] = 0.25  # centre a quarter of the width to the right
    raw[0, 3, 1, 2] = np.log(2.0)  # two cells wide
    raw[0, 5 + 3, 1, 2] = -0.5  # second point half a height above
    scores, boxes, points = decode(raw)
    torch.testing.assert_close(scores[0], torch.sigmoid(torch.tensor([0.0, 0, 0, 0, 0, 2])))
    # Cell (row 1, column 2) is centred at x 19.5, y 11.5.
    torch.testing.assert_close(boxes[0, 5], torch.tensor([15.5, 7.5, 31.5, 15.5]))
    torch.testing.assert_close(boxes[0, 0], torch.tensor([-0.5, -0.5, 7.5, 7.5]))
    torch.testing.assert_close(points[0, 5, 1], torch.tensor([19.5, 7.5]))


def test_extreme_sides_stay_finite() -> None:
    raw = torch.full((1, CHANNELS, 1, 1), 1e4)
    assert all(bool(torch.isfinite(t).all()) for t in decode(raw))


def test_decoding_the_targets_gives_the_face_back_in_every_learning_cell() -> None:
    scene = scene_of_one()
    heat, asked, place, weight = detector.cell_targets(scene, 12, 12)
    raw = torch.from_numpy(np.concatenate((heat[None], place)))[None]
    _, boxes, points = decode(raw)
    learning = np.flatnonzero(weight)
    assert len(learning) > 1
    for cell in learning:
        np.testing.assert_allclose(boxes[0, cell].numpy(), scene.boxes[0], atol=1e-3)
        np.testing.assert_allclose(points[0, cell].numpy(), scene.points[0], atol=1e-3)
    assert weight.sum() == pytest.approx(1.0)
    assert (heat == 1).sum() == 1
    assert np.unravel_index(heat.argmax(), heat.shape) == (7, 5)  # nearest to (40, 58)
    assert asked.all()


def test_a_hidden_face_is_neither_asked_for_nor_an_error() -> None:
    scene = scene_of_one()
    hidden = Scene(scene.image, scene.boxes, scene.points, np.zeros(1, np.bool_))
    heat, asked, _, weight = detector.cell_targets(hidden, 12, 12)
    assert not heat.any()
    assert not weight.any()
    assert asked[7, 5] == 0
    assert asked[0, 11] == 1


def test_the_loss_is_lowest_for_the_right_answer() -> None:
    targets = [torch.from_numpy(t[None]) for t in detector.cell_targets(scene_of_one(), 12, 12)]
    heat, _, place, _ = targets
    right = torch.cat((torch.where(heat == 1, 9.0, -9.0)[:, None], place), 1)
    good = detector.detector_loss(right, *targets)
    assert all(float(v) < 0.01 for v in good)
    score, distance = detector.detector_loss(right * torch.tensor(-1.0), *targets)
    assert float(score) > 1
    assert float(distance) > 0.5


def test_one_step_lowers_the_loss(crops: list[Crop]) -> None:
    torch.manual_seed(0)
    maker = SceneMaker(crops, 64, seed=3)
    batch = [maker.draw() for _ in range(4)]
    model = Detector(DetectorConfig((4, 6, 8, 8, 8), 8, norm=True)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = detector.losses_of(batch, model)["loss"]
    before.backward()
    optimizer.step()
    assert float(detector.losses_of(batch, model)["loss"].detach()) < float(before.detach())


def test_the_same_seed_draws_the_same_scenes(crops: list[Crop]) -> None:
    one, two, other = (SceneMaker(crops, 96, seed=s) for s in (5, 5, 6))
    same = True
    for _ in range(6):
        a, b, c = one.draw(), two.draw(), other.draw()
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        same = same and a.image.shape == c.image.shape and bool((a.image == c.image).all())
    assert not same


def test_scenes_hold_faces_whose_points_lie_in_their_boxes(crops: list[Crop]) -> None:
    maker = SceneMaker(crops, 128, seed=1)
    faces = 0
    for _ in range(40):
        scene = maker.draw()
        assert scene.image.shape == (128, 128, 3)
        assert scene.image.dtype == np.uint8
        faces += len(scene.boxes)
        for box, points in zip(scene.boxes, scene.points, strict=True):
            assert (points >= box[:2] - 1).all()
            assert (points <= box[2:] + 1).all()
            # Left stays left after mirroring: within 50 degrees the eyes keep their order.
            assert points[0, 0] < points[1, 0]
            assert points[3, 0] < points[4, 0]
    assert faces > 20


def test_the_points_of_a_scene_are_where_the_pasted_face_shows_them(crops: list[Crop]) -> None:
    maker = SceneMaker(crops, 256, seed=2)
    darker = []
    for _ in range(60):
        scene = maker.draw()
        if len(scene.boxes) != 1 or np.ptp(scene.boxes[0, ::2]) < 60:
            continue
        grey = scene.image.mean(2)
        inside = [grey[int(y), int(x)] for x, y in scene.points[0] if 0 <= x < 256 and 0 <= y < 256]
        x1, y1, x2, y2 = np.clip(scene.boxes[0], 0, 255).astype(int)
        darker.append(np.median(inside) < np.median(grey[y1:y2, x1:x2]))
    assert len(darker) > 5
    assert np.mean(darker) > 0.9


def test_backgrounds_and_corruptions_are_images_of_the_asked_size() -> None:
    draw = np.random.default_rng(0)
    backgrounds = Backgrounds(80, draw)
    for _ in range(20):
        image = corrupt(backgrounds.draw(), draw)
        assert image.shape == (80, 80, 3)
        assert image.dtype == np.uint8


def test_training_writes_weights_that_find_the_same_faces(data: Path, tmp_path: Path) -> None:
    record = detector.train(data, tmp_path, tmp_path / "w", minutes=1.0, seed=0, preset="tiny")
    stored = json.loads((tmp_path / "w" / "detector.json").read_text())
    assert stored["steps"] == record["steps"] == 4
    assert str(tmp_path) not in json.dumps(stored)
    model = load(tmp_path / "w" / "detector.safetensors")
    unfolded = Detector(DetectorConfig((4, 6, 8, 8, 8), 8, norm=True))
    weights = tmp_path / "w" / "detector.training.safetensors"
    unfolded = detector.load_training(unfolded, weights).eval()
    photo = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        for a, b in zip(model(photo), unfolded(photo), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


def test_a_folder_without_meshes_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    np.savez(data / "landmarks.npz", five=np.zeros((4, 5, 2), np.float32))
    with pytest.raises(UsageError, match="facemesh"):
        detector.train(data, tmp_path, tmp_path / "w", minutes=1.0, seed=0, preset="tiny")


def test_a_configuration_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="five positive"):
        DetectorConfig(widths=(8, 8))
