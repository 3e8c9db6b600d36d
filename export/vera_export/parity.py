"""The gate of every export: an engine is finished when its outputs agree with its source network.

Each check runs at several batch sizes with fresh inputs, so that a constant baked in at export
cannot pass. The gradient is checked as a chain, because a leaky ReLU whose input is within rounding
of zero may take either
slope: (1) in float64 the rewritten function and its gradient equal those of the source networks;
    (2) the traced pair equals the rewritten function in float32; (3) the backward engine equals the
    traced one, given the saved activations of the forward engine. Only the comparison of both ends
    in float32 would be blurred by such kinks.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vera import contract
from vera.errors import VeraError
from vera_export.differentiate import Function, Split, vector_jacobian
from vera_export.layout import layout_of
from vera_export.to_onnx import example_inputs, folded, generator_function

if TYPE_CHECKING:
    import onnxruntime

BATCHES = (1, 2, 5)
Array = npt.NDArray[np.float32]
Source = Callable[..., tuple[Tensor, ...]]

_REWRITE = contract.Tolerance(1e-9, 1e-9, "float64: rewrites are exact up to rounding")
_TRACE = contract.Tolerance(1e-5, 1e-5, "float32, the same kernels in the same order")


def batches_for(layout: contract.Layout) -> tuple[int, ...]:
    """Batch sizes of the checks; what a sample needs grows with the layout's sizes."""
    large = layout.coarse * layout.image > contract.COARSE_SIZE * contract.CROP_SIZE
    return BATCHES[:2] if large else BATCHES


@dataclass(frozen=True)
class Agreement:
    """How well one output agrees over all batches.

    Attributes:
        output: Its name.
        maximum: Largest absolute difference.
        mean: Mean absolute difference.
        share: Largest difference as a share of what the tolerance allows; at most 1 passes.
    """

    output: str
    maximum: float
    mean: float
    share: float


def compare(
    output: str, pairs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], limit: contract.Tolerance
) -> Agreement:
    """Agreement of (engine, reference) pairs; another shape or a NaN never agrees."""
    maximum = mean = share = 0.0
    for found, wanted in pairs:
        a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
        if a.shape != b.shape or not np.isfinite(a).all():
            return Agreement(output, float("inf"), float("inf"), float("inf"))
        difference = np.abs(a - b)
        allowed = limit.absolute + limit.relative * float(np.abs(b).max())
        maximum = max(maximum, float(difference.max()))
        mean += float(difference.mean()) / len(pairs)
        share = max(share, float(difference.max()) / allowed)
    return Agreement(output, maximum, mean, share)


def require(engine: str, agreements: Sequence[Agreement]) -> dict[str, dict[str, float]]:
    """The figures for the manifest.

    Raises:
        VeraError: An output is outside its tolerance.
    """
    for a in agreements:
        if not a.share <= 1:
            raise VeraError(
                f"Engine {engine} does not agree with its source: {a.output} differs by up to "
                f"{a.maximum:.3g}, {a.share:.3g} times the tolerance; do not ship it, look for a "
                "wrong weight or a baked-in size."
            )
    return {a.output: {k: v for k, v in asdict(a).items() if k != "output"} for a in agreements}


def session(model: "bytes | str", threads: int = 1) -> "onnxruntime.InferenceSession":
    """Session on the CPU of a serialised model or of a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_engine(
    engine: "onnxruntime.InferenceSession",
    spec: contract.EngineSpec,
    source: Source,
    batches: Sequence[int] = BATCHES,
) -> dict[str, dict[str, float]]:
    """Compares an engine with ``source``, called with the inputs of ``spec``.

    Raises:
        VeraError: It does not agree.
    """
    names = [t.name for t in spec.outputs]
    pairs: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}
    for batch in batches:
        inputs = example_inputs(spec, batch, seed=100 + batch)
        with torch.no_grad():
            wanted = source(*inputs)
        wanted = (wanted,) if isinstance(wanted, Tensor) else wanted
        found = engine.run(names, _feed([t.name for t in spec.inputs], inputs))
        for name, a, b in zip(names, found, wanted, strict=True):
            pairs[name].append((a, b.numpy()))
    return require(spec.name, [compare(name, pairs[name], spec.tolerance) for name in names])


def check_rewrite(
    generator: torch.nn.Module, perceptual: torch.nn.Module, batch: int = 2
) -> dict[str, dict[str, float]]:
    """Link 1: values and gradient of the folded networks in float64 against their sources.

    Raises:
        VeraError: They are different functions.
    """
    g, p = copy.deepcopy(generator).double(), copy.deepcopy(perceptual).double()
    source = generator_function(g, p)
    rewritten = generator_function(folded(g), folded(p))
    spec = contract.engines(layout_of(g, p))["generator_forward"]
    latent = example_inputs(spec, batch, seed=7)[0].double()
    grads = _grads(source, latent, seed=8)
    names = [*(t.name for t in spec.outputs), "grad_latent"]
    pairs = zip(
        vector_jacobian(rewritten, latent, *grads),
        vector_jacobian(source, latent, *grads),
        strict=True,
    )
    return require(
        "generator rewrite",
        [compare(n, [(a, b)], _REWRITE) for n, (a, b) in zip(names, pairs, strict=True)],
    )


def check_trace(
    split: Split,
    function: Function,
    batches: Sequence[int] = BATCHES,
    layout: contract.Layout = contract.DEFAULT,
) -> dict[str, dict[str, float]]:
    """Link 2: the traced pair in torch against the function it was traced from.

    Raises:
        VeraError: The trace holds something of the batch it was traced with.
    """
    count = len(split.saved)
    spec = contract.engines(layout)["generator_forward"]
    pairs = []
    for batch in batches:
        latent = example_inputs(spec, batch, seed=200 + batch)[0]
        grads = _grads(function, latent, seed=300 + batch)
        saved = split.forward(latent)[-count:]
        pairs.append(
            (split.backward(*saved, *grads)[0], vector_jacobian(function, latent, *grads)[-1])
        )
    return require("joint graph", [compare("grad_latent", pairs, _TRACE)])


def check_backward(
    forward: "onnxruntime.InferenceSession",
    backward: "onnxruntime.InferenceSession",
    split: Split,
    batches: Sequence[int] = BATCHES,
    layout: contract.Layout = contract.DEFAULT,
) -> dict[str, dict[str, float]]:
    """Link 3: the backward engine against the traced graph, given what the engine saved.

    Raises:
        VeraError: They do not agree.
    """
    specs, names = contract.engines(layout), list(split.saved)
    spec = specs["generator_backward"]
    pairs, saved_pairs = [], []
    for batch in batches:
        latent = example_inputs(specs["generator_forward"], batch, seed=500 + batch)[0]
        saved = forward.run(names, {"latent": latent.numpy()})
        wanted = split.forward(latent)
        saved_pairs += [(a, b) for a, b in zip(saved, wanted[-len(names) :], strict=True)]
        grads = [
            torch.randn(t.shape, generator=torch.Generator().manual_seed(400 + batch + i))
            for i, t in enumerate(wanted[: -len(names)])
        ]
        feed = {
            **dict(zip(names, saved, strict=True)),
            **_feed([t.name for t in spec.inputs], grads),
        }
        reference = split.backward(*(torch.from_numpy(s) for s in saved), *grads)[0]
        pairs.append((backward.run(["grad_latent"], feed)[0], reference))
    agreements = [
        compare("grad_latent", pairs, spec.tolerance),
        compare("saved", saved_pairs, spec.tolerance),
    ]
    return require(spec.name, agreements)


def _grads(function: Function, latent: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in function(latent)]


def _feed(names: Sequence[str], values: Sequence[Tensor]) -> Mapping[str, Array]:
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}
