from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vera import contract
from vera.engines import OnnxEngines
from vera.errors import BundleError, EngineError, ShapeError, UsageError

_ROWS = (contract.LATENT_ROWS, contract.LATENT_WIDTH)


def _value(name, *shape):
    return helper.make_tensor_value_info(
        name, TensorProto.FLOAT, ["n" if s is None else s for s in shape]
    )


def _ones(name, *shape):
    return helper.make_tensor(name, TensorProto.FLOAT, shape, np.ones(shape, np.float32).ravel())


def _save(path, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)


def _embedder(path, width=128, op="ReduceMean"):
    nodes = [
        helper.make_node(op, ["face", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "row"], ["embedding"]),
    ]
    axes = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        _ones("row", 1, width),
    ]
    _save(
        path, nodes, [_value("face", None, 3, 112, 112)], [_value("embedding", None, width)], axes
    )


def _generator_pair(folder):
    """Forward: outputs are the latent's mean, saved is twice the latent. Backward: saved * sum."""
    specs = contract.GENERATOR_FORWARD.outputs
    nodes = [
        helper.make_node("ReduceMean", ["latent", "axes"], ["mean3"], keepdims=1),
        helper.make_node("Unsqueeze", ["mean3", "last"], ["mean"]),
        helper.make_node("Add", ["latent", "latent"], ["saved_0"]),
    ]
    nodes += [helper.make_node("Mul", ["mean", f"ones_{s.name}"], [s.name]) for s in specs]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
        *(_ones(f"ones_{s.name}", 1, *s.shape[1:]) for s in specs),
    ]
    outputs = [*(_value(s.name, *s.shape) for s in specs), _value("saved_0", None, *_ROWS)]
    _save(
        folder / "generator_forward.onnx",
        nodes,
        [_value("latent", None, *_ROWS)],
        outputs,
        constants,
    )
    grads = contract.GENERATOR_BACKWARD.inputs
    nodes = [
        helper.make_node("ReduceSum", ["grad_image", "axes"], ["total4"], keepdims=1),
        helper.make_node("Squeeze", ["total4", "last"], ["total"]),
        helper.make_node("Mul", ["saved_0", "total"], ["grad_latent"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
    ]
    inputs = [*(_value(s.name, *s.shape) for s in grads), _value("saved_0", None, *_ROWS)]
    _save(
        folder / "generator_backward.onnx",
        nodes,
        inputs,
        [_value("grad_latent", None, *_ROWS)],
        constants,
    )


@pytest.fixture
def engines(fake_bundle, tmp_path):
    _embedder(tmp_path / "embedder.onnx")
    paths = {name: tmp_path / f"{name}.onnx" for name in contract.ENGINES}
    return OnnxEngines(replace(fake_bundle, engines=paths), threads=1)


@pytest.fixture
def gradient(engines, tmp_path):
    _generator_pair(tmp_path)
    return engines.gradient()


def _face(value=0.5, n=1):
    return np.full((n, 3, 112, 112), value, np.float32)


def test_engine_runs_any_batch(engines):
    embedding = engines.run("embedder", face=_face(n=2))["embedding"]
    np.testing.assert_allclose(embedding, np.full((2, 128), 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"face": _face(), "other": _face()},
        {"face": _face().astype(np.float64)},
        {"face": _face()[0]},
        {"face": _face()[:, :, 1:]},
    ],
)
def test_input_outside_the_contract_is_a_shape_error(engines, inputs):
    with pytest.raises(ShapeError, match="embedder"):
        engines.run("embedder", **inputs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_is_an_engine_error(engines, value):
    with pytest.raises(EngineError, match="not finite"):
        engines.run("embedder", face=_face(value))


def test_engine_of_another_shape_is_a_bundle_error(engines, tmp_path):
    _embedder(tmp_path / "embedder.onnx", width=64)
    with pytest.raises(BundleError, match="embedding of engine embedder must be"):
        engines.run("embedder", face=_face())


def test_engine_of_another_name_is_a_bundle_error(engines, tmp_path):
    (tmp_path / "parser.onnx").write_bytes((tmp_path / "embedder.onnx").read_bytes())
    with pytest.raises(BundleError, match="parser"):
        engines.run("parser", crop=np.zeros((1, 3, 256, 256), np.float32))


def test_file_that_is_no_model_is_an_engine_error_without_traceback_text(engines, tmp_path):
    (tmp_path / "embedder.onnx").write_bytes(b"not a model")
    with pytest.raises(EngineError, match="Engine embedder failed") as caught:
        engines.run("embedder", face=_face())
    assert "\n" not in str(caught.value)


def test_gradient_uses_what_forward_saved_in_every_step(gradient):
    grads = {
        s.name: np.zeros([d or 1 for d in s.shape], np.float32)
        for s in contract.GENERATOR_BACKWARD.inputs
    }
    grads["grad_image"][0, 2, 200, 100] = 1
    for value in (0.25, 1.0, -2.0):
        latent = np.full((1, *_ROWS), value, np.float32)
        gradient.forward(latent)
        np.testing.assert_allclose(gradient.outputs["image"], value, rtol=1e-5)
        np.testing.assert_allclose(gradient.outputs["feature_3"], value, rtol=1e-5)
        np.testing.assert_allclose(gradient.backward(grads), 2 * latent, rtol=1e-5)
    grads["grad_image"] *= 3
    np.testing.assert_allclose(gradient.backward(grads), 6 * latent, rtol=1e-5)


def test_gradient_wants_forward_first_and_the_same_arrays(gradient):
    grads = {
        s.name: np.zeros([d or 1 for d in s.shape], np.float32)
        for s in contract.GENERATOR_BACKWARD.inputs
    }
    with pytest.raises(EngineError, match="call forward first"):
        gradient.backward(grads)
    gradient.forward(np.zeros((1, *_ROWS), np.float32))
    gradient.backward(grads)
    with pytest.raises(ShapeError, match="arrays of the first step"):
        gradient.backward({name: value.copy() for name, value in grads.items()})
    with pytest.raises(ShapeError, match="as many as the buffers"):
        gradient.forward(np.zeros((2, *_ROWS), np.float32))


@pytest.mark.parametrize("settings", [{"threads": 0}, {"device": "tpu"}])
def test_senseless_settings_are_a_usage_error(fake_bundle, settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        OnnxEngines(fake_bundle, **settings)


def test_missing_cuda_is_said_at_once(fake_bundle):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EngineError, match="no cuda device"):
        OnnxEngines(fake_bundle, device="cuda")
