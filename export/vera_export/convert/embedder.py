"""An ArcFace-type embedder given as ONNX, wrapped into the contract's embedder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.errors import UsageError
from vera_export.convert.checkpoint import write_record
from vera_export.parity import session

if TYPE_CHECKING:
    import onnx

Float = npt.NDArray[np.float32]

_INPUT, _OUTPUT = "face", "embedding"
_SIDE = contract.EMBEDDER_SIZE
_AGREEMENT = 1e-3  # of unit vectors: a batch against the same faces one by one


@dataclass(frozen=True)
class EmbedderInput:
    """What the network wants instead of the contract's RGB in [-1, 1].

    Attributes:
        scale: The network gets ``scale * x + offset``; 127.5 and 127.5 are grey levels 0 to 255.
        offset: See ``scale``.
        bgr: Whether it wants blue first.
    """

    scale: float = 1.0
    offset: float = 0.0
    bgr: bool = False


def convert_embedder(
    source: Path, out: Path, wanted: EmbedderInput | None = None
) -> dict[str, Any]:
    """Writes ``out/embedder.onnx`` and its record.

    Args:
        source: A graph from an ArcFace five-point crop [n, 3, 112, 112] to [n, e].
        out: Folder of weights; an ``embedder.safetensors`` there is ignored from now on.
        wanted: What input the network was trained with.

    Returns:
        The record: source, width, input.

    Raises:
        UsageError: The graph has another form, or works for one face at a time only.
    """
    import onnx

    settings = wanted or EmbedderInput()
    try:
        model = onnx.load(source)
    except FileNotFoundError as error:
        raise UsageError(f"The network {source} does not exist; check the path.") from error
    except Exception as error:  # protobuf's decode error has no public name
        raise UsageError(f"{source.name} is no ONNX network; give the .onnx file.") from error
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    width = wrap(model, settings)
    _compare(plain, model, settings)
    out.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, out / "embedder.onnx")
    return write_record(
        out,
        "embedder",
        [source],
        licence="that of the network's publisher (InsightFace: non-commercial research)",
        width=width,
        input={"scale": settings.scale, "offset": settings.offset, "bgr": settings.bgr},
    )


def wrap(model: "onnx.ModelProto", settings: EmbedderInput) -> int:
    """Gives ``model`` the contract's input and output, in place; returns the embedding's width.

    Raises:
        UsageError: It has several inputs, or another size.
    """
    from onnx import TensorProto, helper, shape_inference

    graph = model.graph
    first, last = _ends(model)
    width = _width(shape_inference.infer_shapes(model), last)
    before, name = _prepared(graph, settings)
    for node in graph.node:
        node.input[:] = [name if i == first else i for i in node.input]
        node.output[:] = ["vera.raw" if o == last else o for o in node.output]
        node.input[:] = ["vera.raw" if i == last else i for i in node.input]
    after = [
        helper.make_node("Flatten", ["vera.raw"], ["vera.flat"], axis=1),
        helper.make_node("LpNormalization", ["vera.flat"], [_OUTPUT], axis=1, p=2),
    ]
    nodes = [*before, *graph.node, *after]
    for field in ("node", "input", "output", "value_info"):
        graph.ClearField(field)  # a file of before IR version 4 lists its constants as inputs, too
    graph.node.extend(nodes)
    face: list[str | int | None] = ["batch", 3, _SIDE, _SIDE]
    unit: list[str | int | None] = ["batch", width]
    graph.input.append(helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, face))
    graph.output.append(helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, unit))
    model.ir_version = max(model.ir_version, 4)
    return width


def _ends(model: "onnx.ModelProto") -> tuple[str, str]:
    """Names of the input and the output.

    Raises:
        UsageError: There are several, or the input is of another size.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UsageError(
            f"An embedder has one input and one output, got {len(inputs)} and {len(graph.output)}; "
            "give the recognition network alone."
        )
    size = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    if len(size) != 4 or size[1] != 3 or any(side not in (0, _SIDE) for side in size[2:]):
        raise UsageError(
            f"An embedder takes faces [n, 3, {_SIDE}, {_SIDE}], the network takes {size}; "
            "give one for ArcFace crops."
        )
    return inputs[0].name, graph.output[0].name


def _prepared(
    graph: "onnx.GraphProto", settings: EmbedderInput
) -> tuple[list["onnx.NodeProto"], str]:
    """Nodes from the contract's input to the network's own, and the name of the result."""
    from onnx import helper, numpy_helper

    nodes, name = [], _INPUT
    if settings.bgr:
        order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), "vera.order")
        graph.initializer.append(order)
        nodes.append(helper.make_node("Gather", [name, order.name], ["vera.bgr"], axis=1))
        name = "vera.bgr"
    for kind, label, value in (
        ("Mul", "scale", settings.scale),
        ("Add", "offset", settings.offset),
    ):
        constant = numpy_helper.from_array(np.array(value, np.float32), f"vera.{label}")
        graph.initializer.append(constant)
        nodes.append(helper.make_node(kind, [name, constant.name], [f"vera.{label}d"]))
        name = f"vera.{label}d"
    return nodes, name


def _width(model: "onnx.ModelProto", output: str) -> int:
    """Length of an embedding: sizes behind the batch of the output."""
    found = next(value for value in model.graph.output if value.name == output)
    sides = [int(dim.dim_value) for dim in found.type.tensor_type.shape.dim][1:]
    if not sides or min(sides) < 1 or max(sides) != int(np.prod(sides)):
        raise UsageError(
            f"An embedder gives one vector of known length per face, the network gives {sides}; "
            "export it with a fixed width."
        )
    return max(sides)


def _compare(plain: "onnx.ModelProto", wrapped: "onnx.ModelProto", settings: EmbedderInput) -> None:
    """The wrapped network for a batch against the original one, face by face."""
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 3, _SIDE, _SIDE)).astype(np.float32)
    given = faces[:, ::-1] if settings.bgr else faces
    given = (given * np.float32(settings.scale) + np.float32(settings.offset)).astype(np.float32)
    original = session(plain.SerializeToString())
    name = original.get_inputs()[0].name
    alone = [np.ravel(original.run(None, {name: np.ascontiguousarray(f[None])})[0]) for f in given]
    unit = np.stack([v / max(float(np.linalg.norm(v)), 1e-12) for v in alone])
    try:
        together = session(wrapped.SerializeToString()).run(None, {_INPUT: faces})[0]
    except Exception as error:  # ONNX Runtime's exceptions have no common base class of their own
        raise UsageError(
            "The network works for one face at a time only; export it with a dynamic batch."
        ) from error
    if together.shape != unit.shape or not np.abs(together - unit).max() < _AGREEMENT:
        raise UsageError(
            "The network gives other embeddings for a batch than for single faces; "
            "export it with a dynamic batch."
        )
