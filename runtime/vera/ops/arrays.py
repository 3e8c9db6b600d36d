"""What the operations need of an array library: NumPy on the host, CuPy on a device."""

import importlib
import math
from typing import Any

import numpy as np

Array = Any
"""A NumPy or CuPy array: the two share their interface, but no type."""


def array_module(array: Array) -> Any:
    """NumPy or CuPy: the library whose arrays live where ``array`` lives."""
    if type(array).__module__.partition(".")[0] == "cupy":
        return importlib.import_module("cupy")
    return np


def stream_of(array: Array) -> int:
    """The caller's current CUDA stream as an integer; 0 for arrays of the host."""
    module = array_module(array)
    return 0 if module is np else int(module.cuda.get_current_stream().ptr)


def aligned_zeros(like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros where ``like`` lives, on a 64-byte boundary: rows then fill whole cache lines."""
    module = array_module(like)
    if module is not np:
        return module.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)
