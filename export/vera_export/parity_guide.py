"""Parity of the guide: values and gradients against the networks that it is made of."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vera import contract
from vera_export.models.guide import Guide
from vera_export.parity import BATCHES, Array, compare, require
from vera_export.rewrites_guide import FoldedGuide, guide_function
from vera_export.to_onnx import example_inputs

if TYPE_CHECKING:
    import onnxruntime

Function = Callable[..., tuple[Tensor, ...]]
Figures = dict[str, dict[str, float]]

_REWRITE = contract.Tolerance(1e-12, 1e-9, "float64: rewrites are exact up to rounding")
_GRADIENT = contract.Tolerance(1e-9, 2e-5, "fp32, in the typical sample")
_KINK = contract.Tolerance(1e-9, 0.5, "a ReLU whose input is within rounding of zero")


def check_guide(
    engine: "onnxruntime.InferenceSession",
    guide: Guide,
    spec: contract.EngineSpec,
    batches: Sequence[int] = BATCHES,
) -> dict[str, Figures]:
    """Compares the folded guide with ``guide`` in float64, and the engine with it in float32.

    In float32 one sample in twenty has a ReLU whose input is within rounding of zero; it lets the
    gradient through or not, which changes the sample's gradient by up to 2 % of its largest value,
    in networks of few channels by more. So the better half of the samples has to agree closely, and
    all of them within a wide limit.

    Raises:
        VeraError: They do not agree.
    """
    names = [t.name for t in spec.outputs]

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        feed = {t.name: x.numpy() for t, x in zip(spec.inputs, inputs, strict=True)}
        return tuple(torch.from_numpy(x) for x in engine.run(names, feed))

    exact = copy.deepcopy(guide).double()
    folded, source = guide_function(FoldedGuide(exact)), guide_function(exact)
    pairs = _samples(spec, batches[:1], (folded, source), torch.double)
    rewrite = [compare(name, pairs[name], _REWRITE) for name in names]
    pairs = _samples(spec, batches, (run, guide_function(guide)), torch.float)
    found = []
    for name, samples in pairs.items():
        if name.startswith("grad_"):
            samples.sort(key=lambda pair: compare("", [pair], _GRADIENT).share)
            found.append(compare(name, samples[: (len(samples) + 1) // 2], _GRADIENT))
            found.append(compare(f"{name} of all samples", samples, _KINK))
        else:
            found.append(compare(name, samples, spec.tolerance))
    return {"rewrite": require("guide rewrite", rewrite), "engine": require(spec.name, found)}


def _samples(
    spec: contract.EngineSpec,
    batches: Sequence[int],
    functions: tuple[Function, Function],
    dtype: torch.dtype,
) -> dict[str, list[tuple[Array, Array]]]:
    """What two functions make of fresh inputs, sample by sample, by output."""
    pairs: dict[str, list[tuple[Array, Array]]] = {t.name: [] for t in spec.outputs}
    for batch in batches:
        inputs = [x.to(dtype) for x in example_inputs(spec, batch, seed=600 + batch)]
        found, wanted = (function(*inputs) for function in functions)
        for name, a, b in zip(pairs, found, wanted, strict=True):
            pairs[name] += zip(a.numpy(), b.numpy(), strict=True)
    return pairs
