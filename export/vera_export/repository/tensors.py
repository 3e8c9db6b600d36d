"""The tensors of each engine as a server has to know them, saved ones included."""

from dataclasses import dataclass
from pathlib import Path

from vera import contract
from vera.bundle import Bundle
from vera.contract import EngineSpec, TensorSpec
from vera.errors import BundleError


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """One engine as a model of the server.

    Attributes:
        name: Of the engine and of the model.
        inputs: Its inputs; None in a shape is a free axis.
        outputs: Its outputs.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        """Whether a server may join requests: the batch is the first axis of every tensor."""
        return all(t.shape[0] is None for t in self.inputs + self.outputs)


def served_engines(bundle: Bundle) -> list[ServedEngine]:
    """The engines of a bundle in the order of the contract.

    Raises:
        BundleError: An engine with saved tensors cannot be read.
    """
    specs = contract.engines(bundle.layout)
    return [_served(specs[name], path) for name, path in bundle.engines.items()]


def _served(spec: EngineSpec, path: Path) -> ServedEngine:
    if not spec.saved:
        return ServedEngine(spec.name, spec.inputs, spec.outputs)
    inputs, outputs = _stored(spec.name, path)
    known = {tensor.name: tensor for tensor in spec.inputs + spec.outputs}
    return ServedEngine(
        spec.name,
        tuple(known.get(tensor.name, tensor) for tensor in inputs),
        tuple(known.get(tensor.name, tensor) for tensor in outputs),
    )


def _stored(name: str, path: Path) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs as they stand in the file: the export chose the names of saved ones."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors come as exceptions; nothing is printed
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no common base class of their own
        raise BundleError(
            f"Engine {name} of the bundle cannot be read ({type(error).__name__}); run vera check, "
            "or use another bundle."
        ) from error
    return (
        [_tensor(name, found) for found in session.get_inputs()],
        [_tensor(name, found) for found in session.get_outputs()],
    )


def _tensor(engine: str, found: "object") -> TensorSpec:
    name, kind, dims = (getattr(found, key) for key in ("name", "type", "shape"))
    shape = tuple(side if isinstance(side, int) else None for side in dims)
    if kind != "tensor(float)" or None not in shape:
        raise BundleError(
            f"The tensor {name} of engine {engine} must be float32 with a free axis of samples, "
            f"the bundle has {kind} {list(dims)}; export it again."
        )
    return TensorSpec(name, "float32", shape)
