import os
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest


def _cuda_device_is_present() -> bool:
    try:
        import cupy
    except ImportError:
        return False
    try:
        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none, unless VERA_REQUIRE_GPU=1 demands one."""
    marked = [item for item in items if item.get_closest_marker("needs_cuda")]
    if not marked or os.environ.get("VERA_REQUIRE_GPU") == "1" or _cuda_device_is_present():
        return
    skip = pytest.mark.skip(reason="no CUDA device, or CuPy is not installed")
    for item in marked:
        item.add_marker(skip)


@pytest.fixture(autouse=True)
def _global_random_state_is_restored() -> Iterator[None]:
    """A test that seeds the global generators does not change what the next one draws."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    torch_state = None if torch is None else torch.get_rng_state()
    yield
    if torch is not None:
        torch.set_rng_state(torch_state)
    random.setstate(python_state)
    np.random.set_state(numpy_state)  # noqa: NPY002
