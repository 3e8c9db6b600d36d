"""Single engines as models: batches give what lone requests give, an error stays alone."""

import json

import fake_backend
import numpy as np
import pytest

from vera.bundle import load_bundle
from vera.engines import OnnxEngines
from vera.errors import EngineError, UsageError
from vera.serving.engine_model import TritonPythonModel
from vera.serving.stub import require_sound_tensors


def opened(name, max_batch_size=8):
    config = {"max_batch_size": max_batch_size, "parameters": {"threads": {"string_value": "1"}}}
    model = TritonPythonModel(fake_backend.backend())
    args = {"model_name": name, "model_config": json.dumps(config), "model_repository": "/none"}
    model.initialize(args)
    return model


@pytest.fixture(scope="module")
def embedder():
    return opened("embedder")


@pytest.fixture(scope="module")
def engines():
    return OnnxEngines(load_bundle(), threads=1)


def faces(seed, count):
    shape = (count, 3, 112, 112)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_requests_of_a_batch_are_answered_one_by_one(embedder, engines):
    sent = [faces(seed, count) for seed, count in enumerate((1, 3, 2))]
    answers = embedder.execute([fake_backend.Request({"face": face}) for face in sent])
    for face, answer in zip(sent, answers, strict=True):
        wanted = engines.run("embedder", face=face)["embedding"]
        np.testing.assert_allclose(answer.outputs["embedding"], wanted, atol=1e-5)


def test_wrong_shape_fails_alone(embedder):
    wrong = np.zeros((1, 3, 112, 111), np.float32)
    sent = [{"face": faces(0, 1)}, {"face": wrong}, {"photo": faces(0, 1)}]
    first, second, third = embedder.execute([fake_backend.Request(inputs) for inputs in sent])
    assert first.error is None
    assert str(second.error).startswith("ShapeError: face of engine embedder must be")
    assert second.error.code == fake_backend.TritonError.INVALID_ARG
    assert "takes ['face']" in str(third.error)


def test_number_that_is_not_finite_fails_alone(embedder):
    bad = np.full((1, 3, 112, 112), np.nan, np.float32)
    good, failed = embedder.execute(
        [fake_backend.Request({"face": face}) for face in (faces(0, 1), bad)]
    )
    assert good.error is None
    assert np.isfinite(good.outputs["embedding"]).all()
    assert "not finite" in str(failed.error)


def test_generator_saves_what_its_gradient_takes(engines):
    forward, backward = opened("generator_forward", 0), opened("generator_backward", 0)
    latent = load_bundle().identities.codes[:1].astype(np.float32)
    (ahead,) = forward.execute([fake_backend.Request({"latent": latent})])
    gradient = engines.gradient()
    gradient.forward(latent)
    given = {f"grad_{name}": np.ones_like(v) for name, v in gradient.outputs.items()}
    saved = {k: v for k, v in ahead.outputs.items() if k not in gradient.outputs}
    (behind,) = backward.execute([fake_backend.Request({**given, **saved})])
    assert behind.error is None
    assert np.array_equal(ahead.outputs["image"], gradient.outputs["image"])
    assert np.array_equal(behind.outputs["grad_latent"], gradient.backward(given))
    (short,) = backward.execute([fake_backend.Request(given)])
    assert "pass exactly these" in str(short.error)
    halved = {**given, **saved, "grad_image": given["grad_image"][:, :, :9]}
    (wrong,) = backward.execute([fake_backend.Request(halved)])
    assert "grad_image of engine generator_backward must be" in str(wrong.error)


def test_model_of_another_name_is_refused():
    with pytest.raises(UsageError, match="no engine 'anonymise'"):
        opened("anonymise")


def test_stub_that_corrupts_tensors_is_refused():
    utils = fake_backend.backend()

    class Corrupting(fake_backend.Tensor):
        @classmethod
        def from_dlpack(cls, name, tensor):
            return cls(name, np.zeros_like(tensor.value))

    utils.Tensor = Corrupting
    with pytest.raises(EngineError, match="numpy<2"):
        require_sound_tensors(utils)
