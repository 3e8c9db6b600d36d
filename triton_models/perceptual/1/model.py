"""One engine of the bundle, the one that the model is called after."""

from vera.serving.engine_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
