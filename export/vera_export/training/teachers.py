"""Teacher networks: ONNX files that label training images and are never shipped.

:class:`Labeller` runs one through onnxruntime; :class:`Differentiable` runs one in torch, for
losses whose gradient passes through it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from vera.errors import UsageError

Float = npt.NDArray[np.float32]


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise UsageError(f"The teacher folder has no {path.name}; pass the folder that holds it.")
    return onnx.load(path)


class Labeller:
    """An ONNX network through onnxruntime, on one thread; inner tensors may be outputs too."""

    def __init__(self, path: Path, extra_outputs: tuple[str, ...] = ()) -> None:
        """Read ``path``; ``extra_outputs`` are names of inner float tensors to return as well."""
        import onnxruntime

        model = _read(path)
        for name in extra_outputs:
            value = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            model.graph.output.append(value)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image: Float) -> list[Float]:
        """All outputs, in the graph's order, for a batch in the teacher's own input layout."""
        out: list[Float] = self._session.run(None, {self._input: image})
        return out


def last_sums(path: Path, sides: tuple[int, ...]) -> list[tuple[str, int]]:
    """Name and channels of the last sum (end of the last residual block) at each side in px."""
    graph = onnx.shape_inference.infer_shapes(_read(path)).graph
    sums = {node.output[0] for node in graph.node if node.op_type == "Add"}
    found: dict[int, tuple[str, int]] = {}
    for value in graph.value_info:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.name in sums and len(shape) == 4:
            found[shape[2]] = (value.name, shape[1])
    if missing := [side for side in sides if side not in found]:
        raise UsageError(
            f"{path.name} has no residual sum at {missing[0]} px; pass another teacher."
        )
    return [found[side] for side in sides]


class Differentiable(nn.Module):
    """Runs a feed-forward ONNX network in torch, so that gradients reach its input.

    Knows Conv, Relu, MaxPool, Concat and Sub: what the perceptual teacher is made of.
    """

    def __init__(self, path: Path, outputs: int | None = None) -> None:
        """Read ``path``; ``outputs`` keeps the first ones only, and skips what comes after them."""
        super().__init__()
        graph = _read(path).graph
        self._weights = {
            i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer
        }
        self._nodes = list(graph.node)
        self._input = graph.input[0].name
        self._outputs = [o.name for o in graph.output][:outputs]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The graph's outputs for ``x`` in the teacher's own input layout."""
        values: dict[str, Tensor] = {**self._weights, self._input: x}
        for node in self._nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = _evaluate(
                node.op_type, [values[name] for name in node.input if name], attributes
            )
            if all(name in values for name in self._outputs):
                break
        return [values[name] for name in self._outputs]


def _evaluate(kind: str, inputs: list[Tensor], attributes: dict[str, Any]) -> Tensor:
    if kind == "Conv":
        bias = inputs[2] if len(inputs) > 2 else None
        strides, pads = attributes.get("strides", [1, 1]), attributes.get("pads", [0, 0])[:2]
        return functional.conv2d(inputs[0], inputs[1], bias, strides, pads)
    if kind == "Relu":
        return torch.relu(inputs[0])
    if kind == "MaxPool":
        up = bool(attributes.get("ceil_mode", 0))
        size, strides = attributes["kernel_shape"], attributes["strides"]
        return functional.max_pool2d(inputs[0], size, strides, ceil_mode=up)
    if kind == "Concat":
        return torch.cat(inputs, attributes["axis"])
    if kind == "Sub":
        return inputs[0] - inputs[1]
    raise UsageError(f"The teacher uses the operator {kind}, which cannot be run with gradients.")
