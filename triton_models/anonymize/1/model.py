"""Photographs in, anonymised photographs out; all of it is in the package."""

from vera.serving.anonymize_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
