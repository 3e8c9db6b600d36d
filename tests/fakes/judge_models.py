"""Tiny ONNX networks that a judge can be: the mean colours of a grid, and faulty ones."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

GRID = 4
SIDE = 112


def write_model(
    path: Path,
    *,
    shape: tuple[object, ...] = ("n", 3, SIDE, SIDE),
    side: int = SIDE,
    shift: float = 1.0,
    gain: float = 1.0,
    metadata: dict[str, str] | None = None,
    kind: int = TensorProto.FLOAT,
    inputs: int = 1,
    flat: bool = True,
    extra_output: bool = False,
) -> Path:
    """A network whose embedding are ``gain`` times the means of 4 x 4 cells, plus ``shift``."""
    nodes, last = [], "picture"
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [last], ["cast"], to=TensorProto.FLOAT))
        last = "cast"
    if shape[-1] == 3:
        nodes.append(helper.make_node("Transpose", [last], ["planes"], perm=[0, 3, 1, 2]))
        last = "planes"
    cell = [side // GRID, side // GRID]
    nodes.append(
        helper.make_node("AveragePool", [last], ["cells"], kernel_shape=cell, strides=cell)
    )
    nodes.append(helper.make_node("Mul", ["cells", "gain"], ["scaled"]))
    nodes.append(helper.make_node("Add", ["scaled", "shift"], ["shifted"]))
    if flat:
        nodes.append(helper.make_node("Flatten", ["shifted"], ["embedding"]))
    result = "embedding" if flat else "shifted"
    sizes = [None, None] if flat else [None, None, None, None]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, sizes)]
    if extra_output:
        picture = helper.make_tensor_value_info("cells", TensorProto.FLOAT, [None] * 4)
        outputs.insert(0, picture)
    pictures = [helper.make_tensor_value_info("picture", kind, list(shape))]
    for i in range(1, inputs):
        pictures.append(helper.make_tensor_value_info(f"more{i}", kind, list(shape)))
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        for name, value in (("gain", gain), ("shift", shift))
    ]
    graph = helper.make_graph(nodes, "judge", pictures, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def expected(image: np.ndarray, low: float, high: float, shift: float = 1.0) -> np.ndarray:
    """What :func:`write_model`'s network says of a crop uint8 [s, s, 3], at unit length."""
    levels = image.astype(np.float64) / 255 * (high - low) + low
    cell = image.shape[0] // GRID
    means = levels.reshape(GRID, cell, GRID, cell, 3).mean((1, 3)).transpose(2, 0, 1) + shift
    return means.ravel() / np.linalg.norm(means)
