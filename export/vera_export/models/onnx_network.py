"""A network that came as an ONNX graph and goes into the bundle as one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import onnx
    import onnxruntime


class OnnxNetwork(nn.Module):
    """A graph with one input and one output, run by ONNX Runtime.

    Its weights are rounded to half precision when it is made, as those of all networks of a
    bundle are.
    """

    def __init__(self, model: "onnx.ModelProto", layout: dict[str, Any] | None = None) -> None:
        """Takes the graph over; ``layout``: the fields of ``contract.Layout`` that it settles."""
        super().__init__()
        self.model = model
        self.layout = layout or {}
        _round(model)
        self._session: onnxruntime.InferenceSession | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Output of the graph for float32 ``x``."""
        import onnxruntime

        if self._session is None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        name = self._session.get_inputs()[0].name
        return torch.from_numpy(self._session.run(None, {name: x.numpy()})[0])

    def graph(self) -> "onnx.ModelProto":
        """A copy of the graph, with the rounded weights."""
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        return copy


def load_embedder(path: Path) -> OnnxNetwork:
    """Reads an embedder that ``vera-export convert embedder`` wrote."""
    import onnx

    model = onnx.load(path)
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return OnnxNetwork(model, {"embedding": int(width)})


def _round(model: "onnx.ModelProto") -> None:
    from onnx import TensorProto, numpy_helper

    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):
                half = value.astype(np.float16).astype(np.float32)
            if np.isfinite(half).all():
                tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
