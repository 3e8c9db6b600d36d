import subprocess
import sys

import pytest

import vera

_HEAVY = ("torch", "onnxruntime", "cv2", "PIL", "rich", "cupy", "onnx")


@pytest.mark.parametrize("module", ["vera", "vera.anonymizer", "vera.cli", "vera.bundle"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([name for name in {_HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_is_what_is_exported():
    for name in vera.__all__:
        assert getattr(vera, name) is not None
    assert sorted(vera.__all__) == vera.__all__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vera.nothing
