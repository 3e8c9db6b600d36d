import json

import numpy as np
import onnx
import pytest
from judge_models import SIDE, expected, write_model

from vera.errors import EngineError, UsageError
from vera.judge import Judge, Recogniser, cosine, passes, refusal, write_card
from vera.pixels.align import ARCFACE
from vera.report import JudgeReport

TEMPLATE = {side: (ARCFACE.points + 0.5) * side / SIDE - 0.5 for side in (112, 128, 224)}


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "face.onnx")


@pytest.fixture
def judge(model):
    return Judge.open(model, threshold=0.5, values="0..255")


@pytest.mark.parametrize(
    ("values", "low", "high"), [("0..255", 0, 255), ("-1..1", -1, 1), ("0..1", 0, 1)]
)
def test_levels_are_brought_to_the_range(model, image, values, low, high):
    found = Recogniser(model, values=values).embed(image, ARCFACE.points)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(image, low, high), atol=1e-5)


@pytest.mark.parametrize(
    "shape", [("n", 3, 224, 224), (1, 3, 224, 224), ("n", 224, 224, 3), (None, 3, "h", 224)]
)
def test_crop_is_of_the_size_and_layout_of_the_input(tmp_path, shape):
    path = write_model(tmp_path / "face.onnx", shape=shape, side=224)
    larger = np.random.default_rng(3).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    found = Recogniser(path, values="0..255").embed(larger, TEMPLATE[224])
    np.testing.assert_allclose(found, expected(larger, 0, 255), atol=1e-5)


def test_dynamic_size_is_taken_as_112(tmp_path, image):
    path = write_model(tmp_path / "face.onnx", shape=("n", 3, "h", "w"))
    found = Recogniser(path, values="0..255").embed(image, ARCFACE.points)
    np.testing.assert_allclose(found, expected(image, 0, 255), atol=1e-5)


def test_first_flat_output_is_the_embedding(tmp_path, image):
    path = write_model(tmp_path / "face.onnx", extra_output=True)
    found = Recogniser(path, values="0..255").embed(image, ARCFACE.points)
    np.testing.assert_allclose(found, expected(image, 0, 255), atol=1e-5)


def test_range_is_never_guessed(model):
    with pytest.raises(UsageError, match=r"does not tell the range .* --judge-values"):
        Judge.open(model, threshold=0.5)


def test_metadata_of_the_graph_may_tell_the_range(tmp_path):
    path = write_model(tmp_path / "face.onnx", metadata={"values": "-1..1"})
    assert Judge.open(path, threshold=0.5).values == "-1..1"
    assert Judge.open(path, threshold=0.5, values="0..1").values == "0..1"


def test_unknown_range_is_refused(model):
    with pytest.raises(UsageError, match=r"one of 0\.\.255, -1\.\.1, 0\.\.1, got '0..100'"):
        Judge.open(model, threshold=0.5, values="0..100")


def test_missing_threshold_names_the_calibration(model):
    with pytest.raises(UsageError, match="vera evaluate --calibrate"):
        Judge.open(model, values="0..255")


@pytest.mark.parametrize("threshold", [1.0, -1.0, 35, float("nan")])
def test_threshold_must_be_a_cosine(model, threshold):
    with pytest.raises(UsageError, match="must be a cosine"):
        Judge.open(model, threshold=threshold, values="0..255")


def _card(model, **changes):
    entries = {"threshold": 0.35, "false_accept_rate": 0.001, "calibration": "Forty people."}
    return write_card(model, **{"values": "-1..1", **entries, **changes})


def test_written_card_opens_the_judge(model):
    assert _card(model).name == "face.json"
    judge = Judge.open(model)
    assert (judge.name, judge.threshold, judge.values) == ("face", 0.35, "-1..1")
    assert (judge.false_accept_rate, judge.calibration) == (0.001, "Forty people.")


def test_arguments_override_the_card(model):
    _card(model, name="clinic")
    judge = Judge.open(model, threshold=0.2, values="0..1")
    assert (judge.name, judge.threshold, judge.values) == ("clinic", 0.2, "0..1")
    assert (judge.false_accept_rate, judge.calibration) == (None, "Given by the user.")


def test_card_written_again_keeps_range_and_name(model):
    _card(model, name="clinic")
    _card(model, values=None, threshold=0.4)
    judge = Judge.open(model)
    assert (judge.name, judge.threshold, judge.values) == ("clinic", 0.4, "-1..1")


def test_card_of_another_model_says_nothing(model):
    _card(model)
    write_model(model, shift=0.5)
    with pytest.raises(UsageError, match="No threshold is known"):
        Judge.open(model, values="0..255")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "cannot be read"),
        ("[0.35]", "must be a JSON object"),
        ('{"threshold": NaN}', "`threshold` .* cosine between -1 and 1, got nan"),
        ('{"threshold": "0.3"}', "`threshold` .* cosine"),
        ('{"threshold": true}', "`threshold` .* cosine"),
        ('{"values": "0-255"}', "`values` .* one of"),
        ('{"false_accept_rate": 2}', "`false_accept_rate` .* share"),
        ('{"name": 3}', "`name` .* text"),
    ],
)
def test_broken_card_is_refused(model, text, wanted):
    model.with_suffix(".json").write_text(text)
    with pytest.raises(UsageError, match=wanted):
        Judge.open(model, threshold=0.5, values="0..255")


def test_nonsense_is_not_written_into_a_card(model):
    with pytest.raises(UsageError, match="`threshold`"):
        _card(model, threshold=float("nan"))
    assert not model.with_suffix(".json").exists()


def test_card_is_strict_json(model):
    told = json.loads(_card(model).read_text(), parse_constant=pytest.fail)
    assert len(told["sha256"]) == 12


FAULTS = {
    "empty": (lambda path: path.write_bytes(b""), "cannot load it"),
    "text": (lambda path: path.write_text("not a network"), "cannot load it"),
    "cut short": (
        lambda path: path.write_bytes(write_model(path).read_bytes()[:150]),
        "cannot load it",
    ),
    "two inputs": (lambda path: write_model(path, inputs=2), "one input, a picture, and has 2"),
    "one channel": (lambda path: write_model(path, shape=("n", 1, 112, 112)), "must be a picture"),
    "bytes": (
        lambda path: write_model(path, kind=onnx.TensorProto.UINT8),
        r"must be a picture .* got tensor\(uint8\)",
    ),
    "not square": (lambda path: write_model(path, shape=("n", 3, 112, 96)), "must be square"),
    "pairs only": (lambda path: write_model(path, shape=(2, 3, 112, 112)), "a single picture"),
    "no embedding": (lambda path: write_model(path, flat=False), "an output must be an embedding"),
    "constant": (lambda path: write_model(path, gain=0.0), "same embedding for different"),
    "not finite": (lambda path: write_model(path, shift=float("inf")), "not finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unfit_file_is_refused_in_one_sentence(tmp_path, fault):
    make, wanted = FAULTS[fault]
    path = tmp_path / "face.onnx"
    make(path)
    with pytest.raises(UsageError, match=wanted) as caught:
        Judge.open(path, threshold=0.5, values="0..255")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("or take another.")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read .* give the path of an ONNX file"):
        Judge.open(tmp_path / "face.onnx", threshold=0.5, values="0..255")


def test_unchanged_face_does_not_pass(judge, image):
    report = judge.check(image, image, ARCFACE.points, ARCFACE.points)
    assert report.cosine == pytest.approx(1)
    assert not passes(report)
    assert refusal(report).reason == "judge-too-close"
    assert (report.name, report.sha256) == ("face", judge.sha256)


def _halves(left, right):
    picture = np.full((SIDE, SIDE, 3), left, np.uint8)
    picture[:, SIDE // 2 :] = right
    return picture


def test_larger_cosine_of_both_alignments_counts(tmp_path):
    path = write_model(tmp_path / "face.onnx", shift=0.0)
    judge = Judge.open(path, threshold=0.5, values="-1..1")
    original, output = _halves(0, 255), _halves(255, 0)
    turned = (SIDE - 1) - ARCFACE.points  # upside down, so that left is right again
    apart = judge.check(original, output, ARCFACE.points)
    assert apart.cosine < -0.9
    assert passes(apart)
    assert judge.check(original, output, ARCFACE.points, turned).cosine > 0.9


def test_embedding_without_direction_is_an_error(tmp_path, image):
    path = write_model(tmp_path / "face.onnx", shift=0.0)
    judge = Judge.open(path, threshold=0.5, values="0..255")
    with pytest.raises(EngineError, match="no usable embedding"):
        judge.embed(np.zeros_like(image), ARCFACE.points)


def test_nan_never_passes():
    assert not passes(JudgeReport("face", "0" * 12, float("nan"), 0.5))
    assert not passes(JudgeReport("face", "0" * 12, 0.5, 0.5))
    assert passes(JudgeReport("face", "0" * 12, 0.4999, 0.5))


def test_cosine_of_unit_vectors():
    a, b = np.eye(2, 4, dtype=np.float32)
    assert cosine(a, a) == 1
    assert cosine(a, b) == 0
