"""One engine of a bundle as a model of Triton's Python back end; the model has the engine's name.

For servers without ONNX Runtime's or TensorRT's own back end. A failed request ends in an error of
its own; the others of its batch are run again without it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vera.bundle import load_bundle
from vera.contract import EngineSpec, engines
from vera.engines import OnnxEngines, Tensor, check_finite
from vera.errors import ShapeError, UsageError, VeraError
from vera.serving.parameters import read_parameters
from vera.serving.responder import BackendUtils
from vera.serving.stub import require_sound_tensors
from vera.wire.failure import code_of, to_text

Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class TritonPythonModel:
    """Runs requests of the dynamic batcher in one call where their shapes allow it."""

    def __init__(self, utils: BackendUtils = None) -> None:
        """Takes Triton's module when the server hands it out, or another in its place."""
        self._utils: BackendUtils = utils
        self._run: Run = _not_opened
        self._batched = False

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the engine that the model is named after.

        Raises:
            VeraError: The bundle or the engine cannot be used; the server does not get ready.
        """
        self._utils = self._utils or import_module("triton_python_backend_utils")
        require_sound_tensors(self._utils)
        parameters = read_parameters(args["model_config"], Path(args["model_repository"]))
        bundle = load_bundle(parameters.bundle)
        name = args["model_name"]
        if name not in bundle.engines:
            raise UsageError(
                f"The bundle has no engine '{name}'; name the model after one of "
                f"{', '.join(bundle.engines)}."
            )
        running = OnnxEngines(bundle, threads=parameters.threads, device=parameters.device)
        self._run = _runner(running, engines(bundle.layout)[name])
        self._batched = int(json.loads(args["model_config"]).get("max_batch_size", 0)) > 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in their order."""
        sent = [_floats(request) for request in requests]
        groups: dict[object, list[int]] = {}
        for i, inputs in enumerate(sent):
            groups.setdefault(_together(inputs) if self._batched else i, []).append(i)
        answers: dict[int, Any] = {}
        for members in groups.values():
            answers.update(zip(members, self._answer([sent[i] for i in members]), strict=True))
        return [answers[i] for i in range(len(sent))]

    def _answer(self, requests: Sequence[Mapping[str, Tensor]]) -> list[Any]:
        try:
            if len(requests) == 1:
                return [self._response(self._run(requests[0]))]
            joined = {key: np.concatenate([r[key] for r in requests]) for key in requests[0]}
            ends = np.cumsum([len(next(iter(r.values()))) for r in requests])[:-1]
            split = {key: np.split(value, ends) for key, value in self._run(joined).items()}
            return [
                self._response(
                    {key: np.ascontiguousarray(parts[i]) for key, parts in split.items()}
                )
                for i in range(len(requests))
            ]
        except Exception as error:
            if len(requests) > 1:  # one of them: which?
                return [self._answer([request])[0] for request in requests]
            return [self._failure(error)]

    def _response(self, outputs: Mapping[str, Tensor]) -> Any:
        utils = self._utils
        tensors = [utils.Tensor(name, value) for name, value in outputs.items()]
        return utils.InferenceResponse(output_tensors=tensors)

    def _failure(self, error: Exception) -> Any:
        utils = self._utils
        told = utils.TritonError(to_text(error), getattr(utils.TritonError, code_of(error)))
        return utils.InferenceResponse(output_tensors=[], error=told)


def _runner(running: OnnxEngines, spec: EngineSpec) -> Run:
    """Runs an engine; with the saved tensors, whose names the export chose, if it has any."""
    if not spec.saved:
        return lambda inputs: running.run(spec.name, **inputs)
    session = running.session(spec.name)
    taken = {tensor.name: tensor.shape for tensor in session.get_inputs()}
    names = [tensor.name for tensor in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        _check_shapes(spec.name, taken, inputs)
        values = session.run(names, {key: np.ascontiguousarray(v) for key, v in inputs.items()})
        outputs: dict[str, Tensor] = dict(zip(names, values, strict=True))
        check_finite(spec.name, outputs)
        return outputs

    return run


def _check_shapes(
    engine: str, taken: Mapping[str, Sequence[object]], inputs: Mapping[str, Tensor]
) -> None:
    if set(taken) != set(inputs):
        raise ShapeError(f"Engine {engine} takes {sorted(taken)}; pass exactly these.")
    free: dict[object, int] = {}
    for name, wanted in taken.items():
        shape = inputs[name].shape
        # Axes of one name are one size: the batch.
        fits = len(wanted) == len(shape) and all(
            side == (w if isinstance(w, int) else free.setdefault(w, side))
            for w, side in zip(wanted, shape, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"{name} of engine {engine} must be {list(wanted)}, got {list(shape)}; convert it "
                "first."
            )


def _floats(request: Any) -> dict[str, Tensor]:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def _together(inputs: Mapping[str, Tensor]) -> object:
    """Equal for requests that can be one batch."""
    return tuple(sorted((name, value.shape[1:]) for name, value in inputs.items()))


def _not_opened(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    raise VeraError("The model was never initialised.")
