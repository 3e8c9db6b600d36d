"""Networks to ONNX: generator and perceptual network by tracing, the others by torch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vera import contract
from vera.errors import VeraError
from vera_export.differentiate import Function, Split, differentiate, trace_forward
from vera_export.emit import OPSET, emit
from vera_export.layout import layout_of
from vera_export.models.generator import Generator
from vera_export.models.guide import Guide
from vera_export.models.onnx_network import OnnxNetwork
from vera_export.models.perceptual import Perceptual
from vera_export.models.public_generator import PublicGenerator
from vera_export.models.vgg import Vgg
from vera_export.rewrites import FoldedGenerator, FoldedPerceptual
from vera_export.rewrites_guide import FoldedGuide, guide_function
from vera_export.rewrites_public import FoldedPublicGenerator, FoldedVgg

if TYPE_CHECKING:
    import onnx

Shapes = list[tuple[str, tuple[int | None, ...]]]
_FOLDED: tuple[tuple[type[nn.Module], Callable[[Any], nn.Module]], ...] = (
    (Generator, FoldedGenerator),
    (PublicGenerator, FoldedPublicGenerator),
    (Perceptual, FoldedPerceptual),
    (Vgg, FoldedVgg),
)


@dataclass(frozen=True)
class GradientPair:
    """``generator_forward`` and ``generator_backward``, with the torch graphs they came from."""

    forward: "onnx.ModelProto"
    backward: "onnx.ModelProto"
    split: Split


def module_to_onnx(module: nn.Module, spec: contract.EngineSpec) -> "onnx.ModelProto":
    """Exports a network whose inputs and outputs are those of ``spec``; every open axis is dynamic.

    Args:
        module: In eval mode; batch norm already folded where that is wanted.
        spec: Entry of the contract.
    """
    if isinstance(module, OnnxNetwork):
        return module.graph()
    batch = torch.export.Dim("batch", min=1, max=1024)
    examples = example_inputs(spec, 2)
    dynamic: list[dict[int, Any]] = []
    for tensor in spec.inputs:
        axes = [i for i, size in enumerate(tensor.shape) if size is None]
        dynamic.append({i: batch if i == 0 else torch.export.Dim.AUTO for i in axes})
    with _quiet():
        program = torch.onnx.export(
            module.eval().requires_grad_(False),
            tuple(examples),
            dynamo=True,
            opset_version=OPSET,
            input_names=[t.name for t in spec.inputs],
            output_names=[t.name for t in spec.outputs],
            dynamic_shapes=tuple(dynamic),
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
    _strip(model)
    return model


def example_inputs(spec: contract.EngineSpec, batch: int, seed: int = 0) -> list[Tensor]:
    """Random inputs in [-1, 1]; open axes behind the batch are 96 and 128, part maps one-hot."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for tensor in spec.inputs:
        sides = iter((96, 128))
        shape = [batch, *(size or next(sides) for size in tensor.shape[1:])]
        value = torch.rand(shape, generator=generator) * 2 - 1
        if tensor.name == "labels":
            value = nn.functional.one_hot(value.argmax(1), shape[1]).permute(0, 3, 1, 2).float()
        if tensor.name == "latent":
            value = torch.randn(shape, generator=generator)
        found.append(value)
    return found


def generator_function(generator: nn.Module, perceptual: nn.Module) -> Function:
    """(latent) -> outputs of ``generator_forward``, of the networks or their folded forms."""

    def outputs(latent: Tensor) -> tuple[Tensor, ...]:
        image, segmentation, depth = generator(latent)
        return (image, segmentation, depth, *perceptual(image))

    return outputs


def folded(network: nn.Module) -> nn.Module:
    """The form of a generator or perceptual network that is exported, frozen: an exact rewrite.

    Raises:
        VeraError: The network has no such form.
    """
    for kind, form in _FOLDED:
        if isinstance(network, kind):
            return form(network.requires_grad_(False)).eval()
    raise VeraError(f"{type(network).__name__} has no form for export; write its rewrite.")


def generator_to_onnx(
    generator: nn.Module, layout: contract.Layout | None = None
) -> "onnx.ModelProto":
    """The synthesis engine: latent -> image, segmentation."""
    network = folded(generator)
    spec = contract.engines(layout or layout_of(generator))["generator"]
    graph = trace_forward(lambda latent: network(latent)[:2], example_inputs(spec, 1)[0])
    return emit(graph, _shapes(spec.inputs), _shapes(spec.outputs))


def perceptual_to_onnx(
    perceptual: nn.Module, layout: contract.Layout | None = None
) -> "onnx.ModelProto":
    """The feature engine: crop -> feature maps."""
    spec = contract.engines(layout or layout_of(perceptual))["perceptual"]
    graph = trace_forward(folded(perceptual), example_inputs(spec, 1)[0])
    return emit(graph, _shapes(spec.inputs), _shapes(spec.outputs))


def guide_to_onnx(guide: Guide, layout: contract.Layout | None = None) -> "onnx.ModelProto":
    """The guide: picture and what is wanted of it -> likeness and misfit with their gradients."""
    spec = contract.engines(layout or contract.DEFAULT)["guide"]
    frozen = FoldedGuide(guide.requires_grad_(False)).eval()
    graph = trace_forward(guide_function(frozen), *example_inputs(spec, 1))
    return emit(graph, _shapes(spec.inputs), _shapes(spec.outputs))


def gradient_pair(generator: nn.Module, perceptual: nn.Module) -> GradientPair:
    """The engines of the inversion, from one joint graph."""
    specs = contract.engines(layout_of(generator, perceptual))
    function = generator_function(folded(generator), folded(perceptual))
    split = differentiate(function, example_inputs(specs["generator_forward"], 1)[0])
    saved = list(zip(split.saved, split.shapes, strict=True))
    ahead, back = specs["generator_forward"], specs["generator_backward"]
    forward = emit(split.forward, _shapes(ahead.inputs), _shapes(ahead.outputs) + saved)
    backward = emit(split.backward, saved + _shapes(back.inputs), _shapes(back.outputs))
    return GradientPair(forward, backward, split)


def _shapes(tensors: tuple[contract.TensorSpec, ...]) -> Shapes:
    return [(t.name, t.shape) for t in tensors]


def _strip(model: "onnx.ModelProto") -> None:
    """Removes source paths and traces of the machine that exported."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    ):
        value.ClearField("metadata_props")
    for function in model.functions:
        for node in function.node:
            node.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter reports by warnings, logs and prints; what matters is an exception."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
