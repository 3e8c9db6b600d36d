"""Engine models on a real server give what the engines give in process."""

import grpc
import numpy as np
import pytest

from vera.bundle import load_bundle
from vera.engines import OnnxEngines


@pytest.fixture(scope="module")
def engines():
    return OnnxEngines(load_bundle(), threads=1)


def numbers(*shape):
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("embedder", {"face": numbers(1, 3, 112, 112)}),
        ("embedder", {"face": numbers(5, 3, 112, 112)}),
        ("detector", {"photo": numbers(1, 3, 64, 96)}),
    ],
)
def test_engine_model_gives_what_the_engine_gives(client, engines, name, inputs):
    got, wanted = client.infer(name, inputs), engines.run(name, **inputs)
    assert set(got) == set(wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value)


def test_gradient_goes_through_the_server(client, engines):
    latent = load_bundle().identities.codes[:1].astype(np.float32)
    ahead = client.infer("generator_forward", {"latent": latent})
    gradient = engines.gradient()
    gradient.forward(latent)
    given = {f"grad_{name}": np.ones_like(v) for name, v in gradient.outputs.items()}
    saved = {key: value for key, value in ahead.items() if key not in gradient.outputs}
    behind = client.infer("generator_backward", {**given, **saved})
    np.testing.assert_array_equal(behind["grad_latent"], gradient.backward(given))


def test_wrong_shape_is_told_and_harms_nothing(client):
    with pytest.raises(grpc.RpcError) as told:
        client.infer("embedder", {"face": numbers(1, 3, 112, 111)})
    assert told.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    nowhere = np.full((1, 3, 112, 112), np.nan, np.float32)
    with pytest.raises(grpc.RpcError, match="not finite"):
        client.infer("embedder", {"face": nowhere})
    assert np.isfinite(
        client.infer("embedder", {"face": numbers(1, 3, 112, 112)})["embedding"]
    ).all()
