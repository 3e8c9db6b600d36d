"""A traced graph as ONNX: one short rule per operator, so that every node of an engine is chosen.

``torch.onnx.export`` takes a minute for the joint graph and gives 6-d transposes where two cheap
ones do; here a graph has a hundred kinds of nothing: no shapes computed at run time, no casts, no
control flow.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, fx

from vera.errors import VeraError

if TYPE_CHECKING:
    import onnx

OPSET = 18
# Times any normal positive number it exceeds 1, so a clip to [slope, 1] is leaky ReLU's derivative.
_SIGN = 3.0e38


class _Graph:
    """ONNX nodes and initializers under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._count = 0

    def add(
        self, kind: str, *inputs: str, name: str = "", outputs: int = 1, **attributes: Any
    ) -> str:
        """Appends a node; returns its first output. Several outputs are called name, name.1, ..."""
        from onnx import helper

        if not name:
            self._count += 1
            name = f"{kind.lower()}.{self._count}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def constant(self, value: npt.ArrayLike, dtype: type = np.float32) -> str:
        """Name of an initializer; equal values share one."""
        array: npt.NDArray[Any] = np.ascontiguousarray(value, dtype)
        digest = hashlib.sha256(
            array.tobytes() + str((array.shape, array.dtype)).encode()
        ).hexdigest()[:16]
        self.constants[f"c_{digest}"] = array
        return f"c_{digest}"

    def reshape(self, x: str, *sizes: int, name: str = "") -> str:
        """Reshape; one size may be -1, the batch."""
        return self.add("Reshape", x, self.constant(sizes, np.int64), name=name)

    def finish(self, outputs: Sequence[str], sources: Sequence[str]) -> None:
        """Gives the tensors ``sources`` their output names; one wanted twice is copied."""
        made = {output for node in self.nodes for output in node.output}
        names: dict[str, str] = {}
        for output, source in zip(outputs, sources, strict=True):
            if source in made and source not in names:
                names[source] = output
            else:
                self.add("Identity", source, name=output)
        for node in self.nodes:
            node.input[:] = [names.get(i, i) for i in node.input]
            node.output[:] = [names.get(o, o) for o in node.output]


Rule = Callable[[_Graph, fx.Node, list[Any]], str]
_RULES: dict[str, Rule] = {}


def _rule(*targets: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(targets, rule))
        return rule

    return register


def emit(
    module: fx.GraphModule,
    inputs: Sequence[tuple[str, tuple[int | None, ...]]],
    outputs: Sequence[tuple[str, tuple[int | None, ...]]],
) -> "onnx.ModelProto":
    """ONNX model of a traced graph.

    Args:
        module: A graph of ``differentiate``: its sizes hold at most one -1, the batch.
        inputs: Name and shape per placeholder; ``None`` is the batch. All float32.
        outputs: The same per output.

    Raises:
        VeraError: The graph has an operator without a rule.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = _Graph()
    names: dict[fx.Node, Any] = {}
    given = iter(inputs)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            names[node] = next(given)[0]
        elif node.op == "get_attr":
            value = _attribute(module, str(node.target))
            names[node] = graph.constant(value.detach().numpy())
        elif node.op == "call_function":
            rule = _RULES.get(_target(node))
            if rule is None:
                raise VeraError(
                    f"No ONNX form is known for {node.target}; write the layer in other operators."
                )
            names[node] = rule(graph, node, [_resolved(a, names) for a in node.args])
        elif node.op == "output":
            graph.finish([name for name, _ in outputs], [names[source] for source in node.args[0]])
    onnx_graph = helper.make_graph(
        graph.nodes,
        "vera",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, _dims(s)) for n, s in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, _dims(s)) for n, s in outputs],
        [numpy_helper.from_array(v, k) for k, v in graph.constants.items()],
    )
    model = helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
        producer_name="vera-export",
    )
    checker.check_model(model)
    return model


def _dims(shape: tuple[int | None, ...]) -> list[int | str]:
    return ["batch" if size is None else size for size in shape]


def _attribute(module: fx.GraphModule, target: str) -> Tensor:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value


def _target(node: fx.Node) -> str:
    name = str(node.target)
    return (
        ".".join(name.split(".")[:2])
        if "::" in name or name.startswith(("aten.", "vera."))
        else "getitem"
    )


def _resolved(value: Any, names: dict[fx.Node, Any]) -> Any:
    if isinstance(value, fx.Node):
        return names[value]
    if isinstance(value, list | tuple):
        return [_resolved(v, names) for v in value]
    return value


def _operand(g: _Graph, value: Any) -> str:
    return value if isinstance(value, str) else g.constant(value)


@_rule("aten.alias", "aten.clone", "aten.detach")
def _same(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return str(args[0])


@_rule("getitem")
def _item(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return f"{args[0]}.{args[1]}" if args[1] else str(args[0])


@_rule("aten.view", "aten._unsafe_view")
def _view(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.reshape(args[0], *args[1], name=node.name)


@_rule("aten.expand")
def _expand(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    sizes = [
        max(size, 1) for size in args[1]
    ]  # the batch, -1, is there already: ONNX broadcasts both ways
    return g.add("Expand", args[0], g.constant(sizes, np.int64), name=node.name)


@_rule("aten.unsqueeze", "aten.squeeze")
def _axis(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    kind = "Unsqueeze" if "unsqueeze" in str(node.target) else "Squeeze"
    axes = args[1] if isinstance(args[1], list) else [args[1]]
    return g.add(kind, args[0], g.constant(axes, np.int64), name=node.name)


@_rule("aten.permute")
def _permute(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("Transpose", args[0], name=node.name, perm=args[1])


@_rule("aten.flip")
def _flip(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    count = len(args[1])
    ends = g.constant([np.iinfo(np.int64).min + 1] * count, np.int64)
    starts, steps = g.constant([-1] * count, np.int64), g.constant([-1] * count, np.int64)
    return g.add(
        "Slice", args[0], starts, ends, g.constant(args[1], np.int64), steps, name=node.name
    )


_BINARY = {"aten.mul": "Mul", "aten.add": "Add", "aten.sub": "Sub", "aten.div": "Div"}


@_rule(*_BINARY)
def _binary(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    if node.kwargs:
        raise VeraError(
            f"{node.target} with {dict(node.kwargs)} has no ONNX form here; multiply separately."
        )
    return g.add(_BINARY[_target(node)], _operand(g, args[0]), _operand(g, args[1]), name=node.name)


@_rule("aten.pow")
def _power(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    if args[1] not in (1, 2, 3):
        raise VeraError(f"Only powers 1 to 3 are exported, got {args[1]}; write it as products.")
    x, result = args[0], args[0]
    for _ in range(int(args[1]) - 1):
        result = g.add("Mul", result, x)
    return str(result)


_UNARY = {
    "aten.neg": "Neg",
    "aten.relu": "Relu",
    "aten.reciprocal": "Reciprocal",
    "aten.sqrt": "Sqrt",
}


@_rule(*_UNARY)
def _unary(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add(_UNARY[_target(node)], args[0], name=node.name)


@_rule("aten.rsqrt")
def _rsqrt(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("Reciprocal", g.add("Sqrt", args[0]), name=node.name)


@_rule("aten.clamp")
def _clamp(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("Clip", args[0], *map(g.constant, args[1:]), name=node.name)


@_rule("aten.full_like")
def _full(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    # One element: what reads it broadcasts.
    return g.constant(np.full([1] * len(node.meta["tensor_meta"].shape), args[1]))


@_rule("aten._softmax")
def _softmax(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("Softmax", args[0], name=node.name, axis=args[1])


@_rule("aten.sum")
def _sum(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    keep = int(bool(args[2])) if len(args) > 2 else 0
    return g.add("ReduceSum", args[0], g.constant(args[1], np.int64), name=node.name, keepdims=keep)


@_rule("aten.cat")
def _cat(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("Concat", *args[0], name=node.name, axis=args[1] if len(args) > 1 else 0)


@_rule("aten.split_with_sizes")
def _split(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    sizes = g.constant(args[1], np.int64)
    axis = args[2] if len(args) > 2 else 0
    return g.add("Split", args[0], sizes, name=node.name, outputs=len(args[1]), axis=axis)


@_rule("aten.leaky_relu")
def _leaky(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("LeakyRelu", args[0], name=node.name, alpha=args[1])


@_rule("aten.convolution")
def _convolution(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    if transposed:
        raise VeraError("A transposed convolution is not exported; write it as a convolution.")
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return g.add(
        "Conv",
        *inputs,
        name=node.name,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=groups,
    )


@_rule("vera.product")
def _product(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("MatMul", *args, name=node.name)


@_rule("vera.leaky_gradient")
def _leaky_gradient(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    grad, y, slope = args
    if slope:
        huge = g.add("Mul", y, g.constant(_SIGN))
        derivative = g.add("Clip", huge, g.constant(slope), g.constant(1.0))
    else:
        derivative = g.add("HardSigmoid", y, alpha=_SIGN, beta=0.0)
    return g.add("Mul", grad, derivative, name=node.name)


@_rule("vera.shuffle")
def _shuffle(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    # Two transposes that move one axis each run six times as fast in onnxruntime as one that moves
    # two.
    c4, h, w = _image(node.args[0])
    x = g.add("Transpose", g.reshape(args[0], -1, c4 // 2, 2, h * w), perm=[0, 1, 3, 2])
    x = g.add("Transpose", g.reshape(x, -1, 2, h, 2 * w), perm=[0, 2, 1, 3])
    return g.reshape(x, -1, c4 // 4, 2 * h, 2 * w, name=node.name)


@_rule("vera.unshuffle")
def _unshuffle(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    c, h, w = _image(node.args[0])
    x = g.add("Transpose", g.reshape(args[0], -1, h // 2, 2, w), perm=[0, 2, 1, 3])
    x = g.add("Transpose", g.reshape(x, -1, 2 * c, h * w // 4, 2), perm=[0, 1, 3, 2])
    return g.reshape(x, -1, 4 * c, h // 2, w // 2, name=node.name)


@_rule("vera.pool")
def _pool(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("AveragePool", args[0], name=node.name, kernel_shape=[2, 2], strides=[2, 2])


@_rule("vera.repeat")
def _repeat(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return _enlarged(g, args[0], node.name)


def _enlarged(g: _Graph, x: str, name: str = "") -> str:
    return g.add(
        "Resize", x, "", g.constant([1, 1, 2, 2]), name=name, mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


@_rule("vera.smooth")
def _smooth(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    x, before, after = args
    channels = _image(node.args[0])[0]
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = np.broadcast_to(np.outer(taps, taps), (channels, 1, 4, 4))
    pads = [before, before, after, after]
    return g.add("Conv", x, g.constant(kernel), name=node.name, pads=pads, group=channels)


@_rule("vera.peak")
def _peak(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    return g.add("MaxPool", args[0], name=node.name, kernel_shape=[2, 2], strides=[2, 2])


@_rule("vera.peak_gradient")
def _peak_gradient(g: _Graph, node: fx.Node, args: list[Any]) -> str:
    grad, x, y = args
    held = g.add("Cast", g.add("Equal", x, _enlarged(g, y)), to=1)  # 1: float32
    return g.add("Mul", _enlarged(g, grad), held, name=node.name)


def _image(node: Any) -> tuple[int, int, int]:
    _, c, h, w = node.meta["tensor_meta"].shape
    return c, h, w
