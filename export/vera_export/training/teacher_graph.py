"""Teacher networks as plain node lists, run in torch so that gradients reach their input.

Needs NumPy and torch only. :func:`vera_export.training.teachers.read_graph` makes such a list of an
ONNX file; operators and attributes have ONNX's names and meaning (opset 17).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vera.errors import UsageError

# File stems of the teachers that several trainings use.
PERCEPTUAL, RECOGNISER = "perceptual_squeezenet10", "identity_mobilefacenet"

Attributes = Mapping[str, Any]
Value = Tensor | list[int] | None  # integers are shapes and widths, None is an input left out


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        operator: Its ONNX name.
        inputs: Names of its inputs; empty for one that is left out.
        output: Name of its only output.
        attributes: Integers, floats and lists of integers by ONNX name.
    """

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """A feed-forward network.

    Attributes:
        input: Name of the image.
        outputs: Names of what it returns, in order.
        nodes: In an order in which they can be run.
        arrays: float16 or float32 weights, int64 shapes and widths, by name.
    """

    input: str
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    arrays: dict[str, npt.NDArray[Any]]

    def first(self, outputs: int | None) -> "Graph":
        """The part that the first ``outputs`` need; None for all of them."""
        kept = self.outputs[:outputs]
        needed, nodes = set(kept), list[Node]()
        for node in reversed(self.nodes):
            if node.output in needed:
                needed |= set(node.inputs)
                nodes.append(node)
        arrays = {name: array for name, array in self.arrays.items() if name in needed}
        return Graph(self.input, kept, tuple(reversed(nodes)), arrays)

    def describe(self) -> dict[str, Any]:
        """Everything but the arrays, for JSON."""
        nodes = [asdict(node) for node in self.nodes]
        return {"input": self.input, "outputs": list(self.outputs), "nodes": nodes}

    @classmethod
    def described(
        cls, description: Mapping[str, Any], arrays: dict[str, npt.NDArray[Any]]
    ) -> "Graph":
        """The graph of :meth:`describe` with its arrays."""
        nodes = [Node(**{**node, "inputs": tuple(node["inputs"])}) for node in description["nodes"]]
        return cls(description["input"], tuple(description["outputs"]), tuple(nodes), arrays)


class Differentiable(nn.Module):
    """A frozen teacher in torch: float32 in the teacher's own input layout, list of outputs."""

    def __init__(self, source: Graph | Path, outputs: int | None = None) -> None:
        """Take a graph or read an ONNX file; ``outputs`` keeps the first ones only.

        Raises:
            UsageError: No such file, or an operator or attribute that is not known here.
        """
        super().__init__()
        if isinstance(source, Path):
            from vera_export.training.teachers import read_graph  # needs onnx

            source = read_graph(source)
        graph = source.first(outputs)
        for node in graph.nodes:
            _check(node)
        self._graph = graph
        self._buffer_names: dict[str, str] = {}
        self._integers: dict[str, list[int]] = {}
        for k, (name, array) in enumerate(graph.arrays.items()):
            if array.dtype.kind == "i":
                self._integers[name] = [int(v) for v in array.ravel()]
                continue
            # ONNX names may hold dots, buffer names may not.
            self._buffer_names[name] = f"array_{k}"
            weight = torch.from_numpy(array.astype(np.float32))
            self.register_buffer(f"array_{k}", weight, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The graph's outputs for ``x``."""
        values: dict[str, Value] = {"": None, self._graph.input: x, **self._integers}
        for name, buffer in self._buffer_names.items():
            values[name] = self.get_buffer(buffer)
        for node in self._graph.nodes:
            run = _OPERATORS[node.operator][0]
            values[node.output] = run([values[name] for name in node.inputs], node.attributes)
        return [_tensor(values[name]) for name in self._graph.outputs]


def _check(node: Node) -> None:
    if node.operator not in _OPERATORS:
        raise UsageError(
            f"The teacher uses the operator {node.operator}, which cannot be run with gradients."
        )
    unknown = sorted(set(node.attributes) - _OPERATORS[node.operator][1])
    if unknown:
        raise UsageError(
            f"The teacher's {node.operator} has the attribute {unknown[0]}, which is not known "
            "here; use another teacher."
        )


def _tensor(value: Value) -> Tensor:
    if not isinstance(value, Tensor):
        raise UsageError("The teacher takes a shape for a tensor; use another teacher.")
    return value


def _integers(value: Value) -> list[int]:
    if not isinstance(value, list):
        raise UsageError("The teacher computes a shape or a width; only constant ones are known.")
    return value


def _padded(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    """``x`` padded by ONNX's list: the beginnings of the axes, then their ends."""
    half = len(pads) // 2
    pairs = [(pads[axis], pads[axis + half]) for axis in reversed(range(half))]
    return functional.pad(x, [width for pair in pairs for width in pair], value=value)


def _conv(inputs: list[Value], attributes: Attributes) -> Tensor:
    x, weight = _tensor(inputs[0]), _tensor(inputs[1])
    bias = _tensor(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else None
    pads = attributes.get("pads", [0, 0, 0, 0])
    around = pads[:2]
    if pads[2:] != around:  # torch pads both sides alike
        x, around = _padded(x, pads, 0.0), [0, 0]
    strides, dilations = (attributes.get(k, [1, 1]) for k in ("strides", "dilations"))
    return functional.conv2d(
        x, weight, bias, strides, around, dilations, attributes.get("group", 1)
    )


def _max_pool(inputs: list[Value], attributes: Attributes) -> Tensor:
    x, pads = _tensor(inputs[0]), attributes.get("pads", [0, 0, 0, 0])
    if any(pads):
        x = _padded(x, pads, -math.inf)
    strides = attributes.get("strides", [1, 1])
    up = bool(attributes.get("ceil_mode", 0))
    return functional.max_pool2d(x, attributes["kernel_shape"], strides, ceil_mode=up)


def _prelu(inputs: list[Value], attributes: Attributes) -> Tensor:
    x, slope = _tensor(inputs[0]), _tensor(inputs[1])
    return torch.where(x < 0, x * slope, x)


def _gemm(inputs: list[Value], attributes: Attributes) -> Tensor:
    a, b = (_tensor(value) for value in inputs[:2])
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product: Tensor = attributes.get("alpha", 1.0) * (a @ b)
    if len(inputs) < 3 or inputs[2] is None:
        return product
    offset: Tensor = attributes.get("beta", 1.0) * _tensor(inputs[2])
    return product + offset


def _pad(inputs: list[Value], attributes: Attributes) -> Tensor:
    if attributes.get("mode", "constant") != "constant" or len(inputs) > 2:
        raise UsageError("The teacher pads by something else than zero, which is not known here.")
    return _padded(_tensor(inputs[0]), _integers(inputs[1]), 0.0)


def _reshape(inputs: list[Value], attributes: Attributes) -> Tensor:
    x = _tensor(inputs[0])
    shape = [x.shape[i] if size == 0 else size for i, size in enumerate(_integers(inputs[1]))]
    return x.reshape(shape)


def _flatten(inputs: list[Value], attributes: Attributes) -> Tensor:
    x = _tensor(inputs[0])
    return x.reshape(math.prod(x.shape[: attributes.get("axis", 1)]), -1)


def _reduce(function: Callable[..., Tensor]) -> "Operator":
    def run(inputs: list[Value], attributes: Attributes) -> Tensor:
        keep = bool(attributes.get("keepdims", 1))
        return function(_tensor(inputs[0]), dim=attributes["axes"], keepdim=keep)

    return run


def _each(function: Callable[..., Tensor]) -> "Operator":
    return lambda inputs, attributes: function(*(_tensor(value) for value in inputs))


def _softmax(inputs: list[Value], attributes: Attributes) -> Tensor:
    return _tensor(inputs[0]).softmax(attributes.get("axis", -1))


def _concat(inputs: list[Value], attributes: Attributes) -> Tensor:
    return torch.cat([_tensor(value) for value in inputs], attributes["axis"])


Operator = Callable[[list[Value], Attributes], Tensor]

# By ONNX name: how it is run, and the attributes that are known.
_OPERATORS: dict[str, tuple[Operator, frozenset[str]]] = {
    "Add": (_each(torch.add), frozenset()),
    "Concat": (_concat, frozenset({"axis"})),
    "Conv": (_conv, frozenset({"kernel_shape", "strides", "pads", "dilations", "group"})),
    "Flatten": (_flatten, frozenset({"axis"})),
    "Gemm": (_gemm, frozenset({"alpha", "beta", "transA", "transB"})),
    "MaxPool": (_max_pool, frozenset({"kernel_shape", "strides", "pads", "ceil_mode"})),
    "Mul": (_each(torch.mul), frozenset()),
    "PRelu": (_prelu, frozenset()),
    "Pad": (_pad, frozenset({"mode"})),
    "ReduceMax": (_reduce(torch.amax), frozenset({"axes", "keepdims"})),
    "ReduceMean": (_reduce(torch.mean), frozenset({"axes", "keepdims"})),
    "Relu": (_each(torch.relu), frozenset()),
    "Reshape": (_reshape, frozenset()),
    "Sigmoid": (_each(torch.sigmoid), frozenset()),
    "Softmax": (_softmax, frozenset({"axis"})),
    "Sub": (_each(torch.sub), frozenset()),
}
