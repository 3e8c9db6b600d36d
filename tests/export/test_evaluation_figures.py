"""Every figure of the quality report on a case whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from report_inputs import mesh_offsets, write_teachers
from scipy.linalg import sqrtm

from vera import contract
from vera.evaluation.frechet import Gaussian, frechet_distance
from vera.pixels.align import FFHQ
from vera_export.evaluation.agreement import Agreement, overlap
from vera_export.evaluation.disentanglement import (
    changes,
    disentanglement_scores,
    typical_differences,
)
from vera_export.evaluation.diversity import cosine_figures
from vera_export.evaluation.frechet import frechet_figures
from vera_export.evaluation.held_out import face_with, point_error
from vera_export.evaluation.photographs import likeness, outline_iou
from vera_export.evaluation.readings import (
    Readings,
    Teachers,
    five_points,
    head_pose,
    mouth_opening,
)


def readings(count: int = 60, seed: int = 0) -> Readings:
    draw = np.random.default_rng(seed)
    widths = {"identity": 128, "emotion": 7, "mouth": 1, "pose": 3, "age": 1}
    values = {k: draw.standard_normal((count, w)).astype(np.float32) for k, w in widths.items()}
    values["identity"] /= np.linalg.norm(values["identity"], axis=1, keepdims=True)
    return Readings(mesh=draw.standard_normal((count, 468, 3)).astype(np.float32), **values)


def test_distance_of_two_known_gaussians() -> None:
    a = Gaussian(np.array([0.0, 0.0]), np.diag([4.0, 9.0]))
    b = Gaussian(np.array([3.0, 4.0]), np.diag([1.0, 25.0]))
    assert frechet_distance(a, b) == pytest.approx(25 + (2 - 1) ** 2 + (3 - 5) ** 2)


def test_distance_agrees_with_the_root_of_the_product() -> None:
    draw = np.random.default_rng(0)
    a, b = (Gaussian.fitted(draw.standard_normal((50, 6)) * draw.random(6)) for _ in range(2))
    root = sqrtm(a.covariance @ b.covariance).real
    wanted = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(float(wanted))


def test_identical_sets_have_no_distance_even_with_fewer_images_than_features() -> None:
    few = Gaussian.fitted(np.random.default_rng(0).standard_normal((5, 40)))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_samples_of_another_kind_are_further_than_real_halves() -> None:
    draw = np.random.default_rng(0)
    real = [draw.standard_normal((80, 5)) for _ in range(3)]
    found = frechet_figures(real[0] + 2, real[1][:30], real[1], real[2])
    assert found["samples_to_training"] > 10 * found["real_halves"]
    assert found["samples_to_held_out"] > 5 * found["real_to_held_out"]
    assert (found["images"], found["images_held_out"]) == (80, 30)


def test_a_feature_that_never_fires_on_real_images_does_not_rule_the_distance() -> None:
    draw = np.random.default_rng(0)
    sets = [draw.standard_normal((40, 4)) for _ in range(4)]
    plain = frechet_figures(*sets)
    for x in sets[1:]:
        x[:, 3] = 0
    sets[0][:, 3] = 1e-3
    assert frechet_figures(*sets)["samples_to_training"] < 2 * plain["samples_to_training"]


def test_iou_of_known_maps() -> None:
    wanted = np.zeros((4, 4), np.uint8)
    wanted[:2] = 1
    found = np.zeros((4, 4), np.uint8)
    found[1:3] = 1
    agreement = Agreement()
    agreement.add(found, wanted)
    assert agreement.figures() == pytest.approx({"mean": 1 / 3, "background": 1 / 3, "skin": 1 / 3})


def test_rare_classes_are_told_but_not_in_the_mean() -> None:
    hat = contract.CLASSES.index("hat")
    agreement = Agreement()
    agreement.add(np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, hat]], np.uint8))
    found = agreement.figures()
    assert found["hat"] == 0
    assert found["mean"] == found["background"] == pytest.approx(3 / 4)


def test_two_empty_masks_agree() -> None:
    empty = np.zeros((3, 3), np.bool_)
    assert overlap(empty, empty) == 1
    assert overlap(empty, ~empty) == 0


def test_score_of_a_known_matrix() -> None:
    names = contract.HIGH_LEVEL
    matrix = {code: {name: 2.0 if name == code else 0.5 for name in names} for code in names}
    matrix["age"] = dict.fromkeys(names, 0.3)
    scores = disentanglement_scores(matrix)
    assert scores["pose"] == pytest.approx(4**3)
    assert scores["age"] == pytest.approx(1)


def test_an_unchanged_picture_moves_no_attribute_and_another_person_moves_all() -> None:
    people = readings()
    typical = typical_differences(people, seed=0)
    assert max(changes(people, people, typical).values()) == pytest.approx(0, abs=1e-5)
    others = changes(people, readings(seed=1), typical)
    assert others == pytest.approx(dict.fromkeys(contract.HIGH_LEVEL, 1), abs=0.3)


def test_only_the_moved_attribute_moves() -> None:
    people = readings()
    moved = readings()
    moved.pose[:, 0] += 30
    found = changes(people, moved, typical_differences(people, seed=0))
    assert found["pose"] > 5
    assert found["age"] == found["expression"] == 0


def test_cosines_of_equal_and_orthogonal_people() -> None:
    found = cosine_figures(np.eye(4, dtype=np.float32)[[0, 0, 1, 2]])
    assert found["pairs"] == 6
    assert (found["largest"], found["median"]) == (1, 0)


def test_likeness_keeps_equal_and_different_people_apart() -> None:
    ours = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    found = likeness(ours, ours, ["a", "a", "b", "c"])
    assert found["same_pairs"] == 1
    assert found["ours"]["same"]["smallest"] == 1
    assert found["ours"]["different"]["largest"] == 0
    assert found["pair_correlation"] == pytest.approx(1)


def test_point_error_is_in_percent_of_the_eyes_distance() -> None:
    eyes = FFHQ.points[1, 0] - FFHQ.points[0, 0]
    off = point_error(FFHQ.points + np.array([0, 3]), FFHQ.points)
    assert off == pytest.approx(300 / eyes, rel=1e-3)


def test_box_of_given_points_holds_them() -> None:
    points = FFHQ.points * 2 + 40
    box = face_with(points).box
    assert (box[:2] < points.min(0)).all()
    assert (box[2:] > points.max(0)).all()


def test_pose_of_a_turned_mesh_is_its_angle() -> None:
    mesh = np.random.default_rng(0).uniform(-50, 50, (1, 468, 3)).astype(np.float32)
    mesh[..., 2] = 0
    for left, right in ((234, 454), (33, 263), (61, 291)):
        mesh[0, left], mesh[0, right] = (-40, 0, 0), (40, 0, 0)
    mesh[0, 10], mesh[0, 152] = (0, -60, 0), (0, 60, 0)
    turn = np.radians(20)
    yaw = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    roll = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    assert head_pose(mesh @ yaw.T.astype(np.float32))[0] == pytest.approx([20, 0, 0], abs=1e-3)
    assert head_pose(mesh @ roll.T.astype(np.float32))[0] == pytest.approx([0, 0, 20], abs=1e-3)


def test_mouth_opening_is_the_gap_over_the_width() -> None:
    mesh = np.zeros((1, 468, 3), np.float32)
    mesh[0, 61], mesh[0, 291] = (10, 0, 0), (50, 0, 0)
    mesh[0, 13], mesh[0, 14] = (30, 0, 0), (30, 10, 0)
    assert mouth_opening(mesh)[0, 0] == pytest.approx(0.25)


def test_outlines_of_the_mesh_agree_with_a_map_painted_from_them() -> None:
    mesh = np.zeros((468, 3), np.float32)
    around = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    lips = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40)
    mesh[[*lips, 185], :2] = np.stack([128 + 30 * np.cos(around), 185 + 12 * np.sin(around)], 1)
    y, x = np.mgrid[:256, :256]
    mouth = ((x - 128) / 30) ** 2 + ((y - 185) / 12) ** 2 <= 1
    labels = np.where(mouth, contract.CLASSES.index("mouth"), 1).astype(np.uint8)
    found, eyes = outline_iou(labels, mesh)
    assert found > 0.9
    assert eyes == 0


def test_teachers_find_a_blob_of_light_where_it_is(tmp_path: Path) -> None:
    y, x = np.mgrid[:256, :256]
    blob = np.exp(-(((x - 118) / 9) ** 2 + ((y - 163) / 9) ** 2) / 2) * 255
    image = np.repeat(blob[..., None], 3, 2).astype(np.uint8)
    teachers = Teachers(write_teachers(tmp_path / "teachers"))
    mesh = teachers.mesh(image)
    side = 1.5 * np.ptp(mesh_offsets()[:, :2], axis=0).max() * 246 / 192
    wanted = np.array([118, 163]) + mesh_offsets()[:, :2].mean(0) * side / 192
    assert mesh[:, :2].mean(0) == pytest.approx(wanted, abs=1.5)
    found = teachers.read(image[None])
    assert found.five == pytest.approx(five_points(mesh[None]))
    assert np.linalg.norm(found.identity) == pytest.approx(1, abs=1e-5)
    assert found.emotion.sum() == pytest.approx(1, abs=1e-5)
    assert 15 <= found.age[0, 0] <= 65
