"""Teacher networks: ONNX files that label training images and are never shipped.

:class:`Labeller` runs one through onnxruntime; :class:`Differentiable` runs one in torch, for
losses whose gradient passes through it, from the node list that :func:`read_graph` makes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from vera.errors import UsageError
from vera_export.training.teacher_graph import Differentiable, Graph, Node

__all__ = ["Differentiable", "Labeller", "last_sums", "read_graph"]

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


def read_graph(path: Path) -> Graph:
    """An ONNX file as a plain node list.

    Raises:
        UsageError: No such file.
    """
    graph = _read(path).graph
    nodes = (
        Node(
            node.op_type,
            tuple(node.input),
            node.output[0],
            {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute},
        )
        for node in graph.node
    )
    return Graph(
        graph.input[0].name,
        tuple(output.name for output in graph.output),
        tuple(nodes),
        {i.name: numpy_helper.to_array(i) for i in graph.initializer},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | float) else list(value)
