"""Configurations of the served models: committed as generated, and as contract and wire say."""

import json
from pathlib import Path

import pytest

from vera import contract
from vera.bundle import load_bundle
from vera.serving.parameters import read_parameters
from vera.wire.server import Limits
from vera.wire.tensors import INPUTS, OUTPUTS
from vera_export.repository.config import MAX_BATCH, anonymize_config, to_text
from vera_export.repository.options import RepositoryOptions
from vera_export.repository.sources import sources
from vera_export.repository.tensors import served_engines

_COMMITTED = Path(__file__).parents[2] / "triton_models"
_ENGINES = tuple(load_bundle().engines)
_BACKENDS = {
    "config.pbtxt": ("python", ""),
    "configs/onnxruntime.pbtxt": ("onnxruntime", ""),
    "configs/tensorrt.pbtxt": ("", "tensorrt_plan"),
}


def parsed(text: str):
    """By Triton's own schema: an unknown field or a wrong kind of value is an error."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def read(path: str):
    return parsed((_COMMITTED / path).read_text("utf-8"))


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return sources()


def test_committed_sources_are_what_is_generated(generated):
    held = {
        path.relative_to(_COMMITTED).as_posix()
        for path in _COMMITTED.rglob("*")
        if path.is_file() and path.name != "README.md" and "__pycache__" not in path.parts
    }
    assert held == set(generated)
    for path, text in generated.items():
        committed = (_COMMITTED / path).read_text("utf-8")
        if path.endswith(".pbtxt"):
            # Not the text: versions of protobuf may lay it out differently.
            assert parsed(committed) == parsed(text), path
        else:
            assert committed == text, path


@pytest.mark.parametrize("engine", _ENGINES)
@pytest.mark.parametrize("file", _BACKENDS)
def test_a_model_has_the_tensors_of_the_contract(engine, file):
    config, spec = read(f"{engine}/{file}"), contract.engines()[engine]
    assert config.name == engine
    for tensors, wanted in ((config.input, spec.inputs), (config.output, spec.outputs)):
        served = {tensor.name: tensor for tensor in tensors}
        if not spec.saved:
            assert list(served) == [tensor.name for tensor in wanted]
        for tensor in wanted:
            found = served[tensor.name]
            skipped = [] if config.max_batch_size == 0 else [None]
            dims = list(found.reshape.shape) if found.HasField("reshape") else list(found.dims)
            assert skipped + [None if d == -1 else d for d in dims] == list(tensor.shape)
            assert (
                found.data_type
                == found.DESCRIPTOR.file.enum_types_by_name["DataType"]
                .values_by_name["TYPE_FP32"]
                .number
            )


@pytest.mark.parametrize("file", _BACKENDS)
def test_the_tensors_between_the_generator_s_two_graphs_are_served_in_full(file):
    forward, backward = (read(f"generator_{way}/{file}") for way in ("forward", "backward"))
    saved = {t.name: t for t in forward.output if t.name.startswith("saved_")}
    assert len(saved) > 10
    taken = {t.name: t for t in backward.input if not t.name.startswith("grad_")}
    assert {n: list(t.dims) for n, t in taken.items()} == {n: list(saved[n].dims) for n in taken}


@pytest.mark.parametrize("engine", _ENGINES)
@pytest.mark.parametrize("file", _BACKENDS)
def test_queues_are_bounded_and_refuse_what_is_late(engine, file):
    config = read(f"{engine}/{file}")
    if config.max_batch_size == 0:
        assert not config.HasField("dynamic_batching")
        return
    policy = config.dynamic_batching.default_queue_policy
    assert config.max_batch_size == MAX_BATCH
    assert policy.TimeoutAction.Name(policy.timeout_action) == "REJECT"
    assert 0 < policy.max_queue_size <= 64
    assert policy.default_timeout_microseconds > 0
    assert policy.allow_timeout_override


@pytest.mark.parametrize("engine", _ENGINES)
@pytest.mark.parametrize("file", _BACKENDS)
def test_a_model_says_all_that_triton_would_have_to_complete(engine, file):
    config = read(f"{engine}/{file}")
    assert (config.backend, config.platform) == _BACKENDS[file]
    assert [group.kind for group in config.instance_group] == [
        1 if config.platform else 2  # KIND_GPU, KIND_CPU
    ]
    assert config.version_policy.latest.num_versions == 1
    warmed = config.model_warmup[0].inputs
    assert set(warmed) == {tensor.name for tensor in config.input}
    assert all(min(part.dims) > 0 and part.zero_data for part in warmed.values())


def test_only_engines_whose_every_tensor_starts_with_the_batch_are_joined():
    joined = {engine.name: engine.batched for engine in served_engines(load_bundle())}
    assert not joined.pop("generator_forward")  # some saved tensors have the batch in axis 1
    assert not joined.pop("generator_backward")
    assert all(joined.values())


@pytest.mark.parametrize("file", _BACKENDS)
def test_anonymize_has_the_tensors_of_the_wire(file):
    config = read(f"anonymize/{file}")
    kinds = {"BYTES": 13, "FP32": 11}  # TYPE_STRING, TYPE_FP32
    assert [(t.name, t.data_type, tuple(t.dims), t.optional) for t in config.input] == [
        (t.name, kinds[t.datatype], t.dims, t.optional) for t in INPUTS
    ]
    assert [(t.name, t.data_type, tuple(t.dims)) for t in config.output] == [
        (t.name, kinds[t.datatype], t.dims) for t in OUTPUTS
    ]
    assert config.model_transaction_policy.decoupled
    assert (config.backend, config.max_batch_size) == ("python", 0)


def test_the_model_reads_the_options_that_a_repository_was_rendered_with(tmp_path):
    from google.protobuf import json_format

    names = [name for name in Limits.__dataclass_fields__ if name != "seconds"]
    limits = Limits(**{name: i for i, name in enumerate(names, 1)}, seconds=6.5)
    options = RepositoryOptions(
        device="gpu", slots=7, queue=8, threads=9, limits=limits, progress_every=10
    )
    config = parsed(to_text(anonymize_config(options)))
    told = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
    found = read_parameters(told, tmp_path)
    assert found.bundle == tmp_path / "1/bundle"
    assert found.limits == limits
    assert (found.slots, found.queue, found.threads) == (7, 8, 9)
    assert (found.device, found.progress_every) == ("cuda", 10)


def test_a_misspelt_field_is_no_configuration():
    from google.protobuf.json_format import ParseError

    with pytest.raises(ParseError):
        to_text({"name": "detector", "max_batch": 8})
