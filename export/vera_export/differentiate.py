"""Gradients as graphs: a function and its vector-Jacobian product, traced together, then split.

The forward graph returns the outputs and the activations that the backward graph needs; the
backward graph takes those and the gradients of the outputs. Tracing at two batch sizes tells which
numbers are the batch
size: they become -1, and a graph where that is impossible is refused, so no batch size is ever
    baked in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from vera.errors import VeraError

Function = Callable[[Tensor], tuple[Tensor, ...]]

_BATCHES = (2, 3)
_SIZES = (
    "view",
    "_unsafe_view",
    "expand",
    "reshape",
)  # operators whose list argument may hold a -1
# What costs one pass or less is computed again in the backward graph instead of being carried
# there.
_CHEAP = (
    "view",
    "_unsafe_view",
    "permute",
    "transpose",
    "t",
    "unsqueeze",
    "squeeze",
    "expand",
    "alias",
    "detach",
)


@dataclass(frozen=True)
class Split:
    """The two halves of a joint graph.

    Attributes:
        forward: input -> outputs, then saved activations.
        backward: saved activations, then gradients of the outputs -> gradient of the input.
        saved: Names of the saved activations, in order.
        shapes: Their shapes; ``None`` is the batch.
    """

    forward: fx.GraphModule
    backward: fx.GraphModule
    saved: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]


def vector_jacobian(function: Function, x: Tensor, *grads: Tensor) -> tuple[Tensor, ...]:
    """Outputs of ``function`` at ``x``, then the gradient of ``sum(output * grad)`` by ``x``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        outputs = function(x)
        (grad,) = torch.autograd.grad(outputs, x, grads)
    return (*(t.detach() for t in outputs), grad)


def differentiate(function: Function, x: Tensor) -> Split:
    """Traces ``function`` with its vector-Jacobian product and splits the graph.

    Args:
        function: Frozen function of one tensor whose first axis, like that of every output, is the
            batch.
        x: Any input of it; only the shape behind the batch axis matters.

    Raises:
        VeraError: The graph depends on the batch size in a way that no dynamic axis can express.
    """

    def joint(x: Tensor, *grads: Tensor) -> tuple[Tensor, ...]:
        return vector_jacobian(function, x, *grads)

    def arguments(example: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return [example, *(torch.ones_like(t) for t in function(example))]

    first, second = (_trace(joint, x, batch, arguments) for batch in _BATCHES)
    _free_batch(first, second)
    return _split(first, second)


def trace_forward(function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> fx.GraphModule:
    """Graph of ``function`` alone; its inputs, and errors, are as in :func:`differentiate`."""

    def arguments(example: Tensor) -> list[Tensor]:
        return [example, *(t.new_empty(len(example), *t.shape[1:]) for t in inputs[1:])]

    with torch.no_grad():
        first, second = (_trace(function, inputs[0], batch, arguments) for batch in _BATCHES)
    _free_batch(first, second)
    return first


def _trace(
    function: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    batch: int,
    arguments: Callable[[Tensor], list[Tensor]],
) -> fx.GraphModule:
    """Graph of ``function`` for a batch of inputs like ``x``; ``arguments`` makes the rest of them.

    Tensors have shapes and no values while it is traced, so memory does not grow with the network.
    """
    tracer = make_fx(
        function, decomposition_table=dict(core_aten_decompositions().items()), tracing_mode="real"
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        graph: fx.GraphModule = tracer(*arguments(x.new_empty(batch, *x.shape[1:])))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _free_batch(first: fx.GraphModule, second: fx.GraphModule) -> None:
    """Replaces in ``first`` every size that differs in ``second``, of another batch size, by -1."""
    if len(first.graph.nodes) != len(second.graph.nodes):
        raise VeraError(
            "The number of operators changes with the batch size; remove that dependence."
        )
    pairs = list(zip(first.graph.nodes, second.graph.nodes, strict=True))
    partner = {a: b for a, b in pairs}
    for a, b in pairs:
        if a.op != b.op or (a.op == "call_function" and a.target != b.target):
            raise VeraError(
                f"The graph changes with the batch size at {a.name}; remove that dependence."
            )
        if a.op == "get_attr" and not torch.equal(_constant(first, a), _constant(second, b)):
            raise VeraError(
                f"The constant {a.name} changes with the batch size; make it an input or remove it."
            )
        if a.op == "call_function":
            free = _name(a) in _SIZES
            if free:  # a size may be left open in the source already; only the batch may stay open
                a.args, b.args = (a.args[0], list(_shape(a))), (b.args[0], list(_shape(b)))
            a.args = tuple(
                _merge(p, q, a, free, partner) for p, q in zip(a.args, b.args, strict=True)
            )
            a.kwargs = {k: _merge(v, b.kwargs[k], a, free, partner) for k, v in a.kwargs.items()}
    first.recompile()


def _merge(p: Any, q: Any, node: fx.Node, free: bool, partner: dict[fx.Node, fx.Node]) -> Any:
    if isinstance(p, fx.Node):
        if partner[p] is not q:
            raise VeraError(
                f"The graph changes with the batch size at {node.name}; remove that dependence."
            )
        return p
    if isinstance(p, list | tuple) and len(p) == len(q):
        return type(p)(_merge(a, b, node, free, partner) for a, b in zip(p, q, strict=True))
    if p == q:
        return p
    if free and isinstance(p, int):
        return -1
    raise VeraError(
        f"{node.target} bakes the batch size in ({p} at one batch size, {q} at another); "
        "write the layer so that only reshapes see the batch."
    )


def _constant(module: fx.GraphModule, node: fx.Node) -> Tensor:
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value


def _name(node: fx.Node) -> str:
    return (
        str(node.target).split(".")[1] if str(node.target).startswith("aten.") else str(node.target)
    )


def _split(joint: fx.GraphModule, other: fx.GraphModule) -> Split:
    """Cuts ``joint`` where the gradients enter; ``other``, of another batch, tells open axes."""
    nodes = list(joint.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder"]
    results = list(nodes[-1].args[0])
    late: set[fx.Node] = set(inputs[1:])
    constant: set[fx.Node] = set()
    for node in nodes:
        sources = node.all_input_nodes
        if node.op == "get_attr" or (
            node.op == "call_function" and all(s in constant for s in sources)
        ):
            constant.add(node)
        elif any(s in late for s in sources):
            late.add(node)
    saved: list[fx.Node] = []
    _collect(nodes, late, constant, saved)
    forward = _extract(joint, inputs[:1], [*results[:-1], *saved])
    backward = _extract(joint, [*saved, *inputs[1:]], results[-1:])
    by_name = {n.name: n for n in other.graph.nodes}
    shapes = [
        tuple(
            a if a == b else None for a, b in zip(_shape(n), _shape(by_name[n.name]), strict=True)
        )
        for n in saved
    ]
    return Split(forward, backward, tuple(f"saved_{i}" for i in range(len(saved))), tuple(shapes))


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _collect(
    nodes: list[fx.Node], late: set[fx.Node], constant: set[fx.Node], saved: list[fx.Node]
) -> None:
    """Fills ``saved`` with what late nodes read from the forward half; views are repeated."""
    again: set[fx.Node] = set()

    def visit(node: fx.Node) -> None:
        if node in constant or node in late or node in again or node in saved:
            return
        if _name(node) in _CHEAP:
            for source in node.all_input_nodes:
                visit(source)
            again.add(node)
        else:
            saved.append(node)

    for node in nodes:
        if node in late and node.op == "call_function":
            for source in node.all_input_nodes:
                visit(source)


def _extract(
    joint: fx.GraphModule, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]
) -> fx.GraphModule:
    """Graph from ``inputs`` to ``outputs`` with the nodes of ``joint`` in their order."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
    for node in joint.graph.nodes:
        if node in copies or node.op in ("placeholder", "output"):
            continue
        if all(s in copies for s in node.all_input_nodes):
            copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(tuple(copies[n] for n in outputs))
    graph.eliminate_dead_code()
    return fx.GraphModule(joint, graph)
