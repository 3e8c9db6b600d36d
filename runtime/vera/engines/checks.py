"""Engines and their tensors compared with the contract; ONNX Runtime's errors made ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from vera import contract
from vera.engines.protocol import Tensor
from vera.errors import BundleError, EngineError, ShapeError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def check_inputs(spec: contract.EngineSpec, inputs: Mapping[str, Tensor]) -> None:
    """Compares inputs with the contract.

    Raises:
        ShapeError: An input is missing, unknown, of another dtype or of another shape.
    """
    if set(inputs) != {tensor.name for tensor in spec.inputs}:
        raise ShapeError(
            f"Engine {spec.name} takes {[t.name for t in spec.inputs]}, got {sorted(inputs)}; pass "
            "exactly these."
        )
    for tensor in spec.inputs:
        value = inputs[tensor.name]
        if value.dtype != tensor.dtype or not _fits(tensor.shape, value.shape):
            raise ShapeError(
                f"{tensor.name} of engine {spec.name} must be {tensor.dtype} "
                f"{_written(tensor.shape)}, got "
                f"{value.dtype} {list(value.shape)}; convert it first."
            )


def check_finite(name: str, outputs: Mapping[str, Tensor]) -> None:
    """Raises an EngineError if any output of engine ``name`` holds a NaN or an infinity."""
    for key, value in outputs.items():
        if not np.isfinite(value).all():
            raise EngineError(
                f"Engine {name} gave a {key} that is not finite; run vera check, or use another "
                "bundle."
            )


def check_session(spec: contract.EngineSpec, session: "InferenceSession") -> None:
    """Compares the tensors of a loaded engine with the contract.

    Raises:
        BundleError: A tensor is missing, or of another dtype or shape.
    """
    for kind, wanted, found in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        held = {tensor.name: tensor for tensor in found}
        extra = set(held) - {tensor.name for tensor in wanted}
        if extra and not spec.saved:
            raise BundleError(
                f"Engine {spec.name} of the bundle has the unknown {kind} {sorted(extra)[0]}; "
                "export it again."
            )
        for tensor in wanted:
            if tensor.name not in held:
                raise BundleError(
                    f"Engine {spec.name} of the bundle lacks the {kind} {tensor.name}; export it "
                    "again."
                )
            dims = tuple(d if isinstance(d, int) else None for d in held[tensor.name].shape)
            same_rank = len(dims) == len(tensor.shape)
            if (
                held[tensor.name].type != "tensor(float)"
                or not same_rank
                or not _open(tensor.shape, dims)
            ):
                raise BundleError(
                    f"The {kind} {tensor.name} of engine {spec.name} must be {tensor.dtype} "
                    f"{_written(tensor.shape)}, the bundle has {held[tensor.name].type} "
                    f"{list(dims)}; export it again."
                )


def saved_names(
    forward: "InferenceSession",
    backward: "InferenceSession",
    layout: contract.Layout = contract.DEFAULT,
) -> list[str]:
    """Names of the tensors that the forward graph saves for the backward graph.

    Raises:
        BundleError: The two graphs do not belong together.
    """
    specs = contract.engines(layout)
    known = {tensor.name for tensor in specs["generator_forward"].outputs}
    grads = {tensor.name for tensor in specs["generator_backward"].inputs}
    given = [tensor.name for tensor in forward.get_outputs() if tensor.name not in known]
    taken = {tensor.name for tensor in backward.get_inputs()} - grads
    if taken - set(given):
        raise BundleError(
            f"generator_backward needs {sorted(taken - set(given))[0]}, which generator_forward "
            "does not save; "
            "export both again."
        )
    return [name for name in given if name in taken]


def _fits(wanted: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(wanted) == len(shape) and all(
        w in (None, s) for w, s in zip(wanted, shape, strict=True)
    )


def _open(wanted: tuple[int | None, ...], dims: tuple[int | None, ...]) -> bool:
    """Whether every shape the contract allows may go through ``dims`` (None: any size)."""
    return all(d is None or d == w for w, d in zip(wanted, dims, strict=True))


def _written(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if side is None else str(side) for side in shape) + "]"


@contextmanager
def mapped(name: str) -> Iterator[None]:
    """The one place where the exceptions of ONNX Runtime become ours."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions have no common base class of their own
        said = (str(error).splitlines() or ["no message"])[0]
        kind, advice = type(error).__name__, "run vera check, or use another bundle."
        failed = EngineError(f"Engine {name} failed ({kind}: {said}); {advice}")
        failed.outside = f"Engine {name} failed ({kind}); {advice}"
        raise failed from error
