"""The engines of the contract, whatever runs them."""

from vera.engines.checks import check_finite, check_inputs, check_session, saved_names
from vera.engines.gradient import OnnxGradient
from vera.engines.onnx import OnnxEngines
from vera.engines.protocol import Engines, Gradient, Tensor

__all__ = [
    "Engines",
    "Gradient",
    "OnnxEngines",
    "OnnxGradient",
    "Tensor",
    "check_finite",
    "check_inputs",
    "check_session",
    "saved_names",
]
