"""``config.pbtxt`` of each model, from the contract and the messages between client and server.

The files are written by protobuf from Triton's own schema, which comes with ``tritonclient``: a
misspelt field or an enumeration that does not exist is an error here and not on a server.
"""

from typing import Any

from vera.contract import TensorSpec
from vera.errors import UsageError
from vera.wire.server import Limits
from vera.wire.tensors import INPUTS, MODEL, OUTPUTS, WireTensor
from vera_export.repository.options import RepositoryOptions
from vera_export.repository.tensors import ServedEngine

BUNDLE = "1/bundle"  # relative to the folder of the model; Triton looks at no folder in a version

# Samples of one execution. Memory and latency of the largest engines, the generator's two, grow
# with it while a GPU is full from four to eight 256 px pictures on.
MAX_BATCH = 8

# How long a request waits for others to share its execution: well below any engine's own time.
_DELAY_US = 500
# How long it may wait in the queue, unless it says itself; a client has gone by then.
_TIMEOUT_US = 10_000_000

# Side of a free axis in pixels when a model is warmed up or measured: the detector's middle one.
TYPICAL_SIDE = 320

Config = dict[str, Any]


def anonymize_config(options: RepositoryOptions) -> Config:
    """The model that takes photographs: decoupled, with a queue of its own."""
    limits = {f"max_{name}": getattr(options.limits, name) for name in Limits.__dataclass_fields__}
    parameters = {
        "bundle": BUNDLE,
        "slots": "" if options.slots is None else options.slots,
        "queue": options.queue,
        **_running(options),
        **limits,
        "progress_every": options.progress_every,
    }
    return {
        "name": MODEL,
        "backend": "python",
        "max_batch_size": 0,
        "input": [_wire(tensor, optional=tensor.optional) for tensor in INPUTS],
        "output": [_wire(tensor) for tensor in OUTPUTS],  # Triton's outputs are always optional
        "model_transaction_policy": {"decoupled": True},
        # One process: it holds the networks once and does all cases together. Triton's kind only
        # places tensors, and ours are in host memory; `device` says where the engines run.
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        "version_policy": {"latest": {"num_versions": 1}},
        "parameters": _parameters(parameters),
    }


def engine_config(engine: ServedEngine, options: RepositoryOptions) -> Config:
    """A single engine as a model."""
    config: Config = {
        "name": engine.name,
        **_backend(options),
        "max_batch_size": MAX_BATCH if engine.batched else 0,
        "input": [_tensor(tensor, batched=engine.batched) for tensor in engine.inputs],
        "output": [_tensor(tensor, batched=engine.batched) for tensor in engine.outputs],
        "instance_group": [_instances(options)],
        "version_policy": {"latest": {"num_versions": 1}},
        "model_warmup": [_warmup(engine)],
    }
    if engine.batched:
        config["dynamic_batching"] = _batching(options)
    parameters = _engine_parameters(options)
    return {**config, "parameters": _parameters(parameters)} if parameters else config


def to_text(config: Config) -> str:
    """A configuration as ``config.pbtxt`` has it; the same one gives the same text.

    Raises:
        UsageError: ``tritonclient``, which has the schema, is not installed.
    """
    try:
        from google.protobuf import json_format, text_format
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        raise UsageError(
            f"A model repository is written with Triton's own schema, which is missing ({error}); "
            "pip install 'vera[client]'."
        ) from error
    message = json_format.ParseDict(config, model_config_pb2.ModelConfig())
    return str(text_format.MessageToString(message))


def dims_of(tensor: TensorSpec, *, batch: int, side: int = TYPICAL_SIDE) -> list[int]:
    """A shape that the engine takes: ``batch`` samples, other free axes ``side`` long."""
    free = [index for index, axis in enumerate(tensor.shape) if axis is None]
    given = {index: batch if index == free[0] else side for index in free}
    return [given.get(index, axis or 0) for index, axis in enumerate(tensor.shape)]


def _wire(tensor: WireTensor, *, optional: bool = False) -> Config:
    datatype = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32"}[tensor.datatype]
    config: Config = {"name": tensor.name, "data_type": datatype, "dims": list(tensor.dims)}
    return {**config, "optional": True} if optional else config


def _tensor(tensor: TensorSpec, *, batched: bool) -> Config:
    shape = tensor.shape[1:] if batched else tensor.shape
    dims = [-1 if axis is None else axis for axis in shape]
    config: Config = {"name": tensor.name, "data_type": "TYPE_FP32", "dims": dims}
    # One number per sample: Triton knows no model without dims, and drops this one again.
    return config if dims else {**config, "dims": [1], "reshape": {"shape": []}}


def _backend(options: RepositoryOptions) -> Config:
    if options.backend == "tensorrt":
        return {"platform": "tensorrt_plan", "default_model_filename": "model.plan"}
    if options.backend == "onnxruntime":
        return {"backend": "onnxruntime", "default_model_filename": "model.onnx"}
    return {"backend": "python"}


def _instances(options: RepositoryOptions) -> Config:
    group: Config = {"kind": "KIND_GPU" if options.device == "gpu" else "KIND_CPU", "count": 1}
    return {**group, "profile": ["0"]} if options.backend == "tensorrt" else group


def _batching(options: RepositoryOptions) -> Config:
    policy = {
        "timeout_action": "REJECT",
        "default_timeout_microseconds": _TIMEOUT_US,
        "allow_timeout_override": True,
        "max_queue_size": options.queue,
    }
    return {"max_queue_delay_microseconds": _DELAY_US, "default_queue_policy": policy}


def _warmup(engine: ServedEngine) -> Config:
    """One sample of zeros, so that the first patient does not wait for what is made once."""
    inputs = {}
    for tensor in engine.inputs:
        dims = dims_of(tensor, batch=1)
        inputs[tensor.name] = {
            "data_type": "TYPE_FP32",
            "dims": dims[1:] if engine.batched else dims,
            "zero_data": True,
        }
    return {"name": "zeros", "batch_size": 1, "inputs": inputs}


def _engine_parameters(options: RepositoryOptions) -> dict[str, object]:
    if options.backend == "python":
        return {"bundle": f"../{MODEL}/{BUNDLE}", **_running(options)}
    if options.backend == "onnxruntime" and options.threads is not None:
        return {"intra_op_thread_count": options.threads}
    return {}


def _running(options: RepositoryOptions) -> dict[str, object]:
    """What ``vera`` calls these two; an empty number of threads is its own choice."""
    device = {"cpu": "cpu", "gpu": "cuda"}[options.device]
    return {"threads": "" if options.threads is None else options.threads, "device": device}


def _parameters(values: dict[str, object]) -> Config:
    return {name: {"string_value": str(value)} for name, value in values.items()}
