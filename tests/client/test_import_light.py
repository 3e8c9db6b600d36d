import subprocess
import sys

import pytest

_HEAVY = ("cv2", "grpc", "httpx", "onnxruntime", "PIL", "tenacity", "tritonclient", "vera._C")


@pytest.mark.parametrize(
    "module", ["vera.client.remote", "vera.client.asynchronous", "vera.batch.remote"]
)
def test_import_loads_no_network_library_and_no_engine(module):
    code = f"import sys, {module}; print([name for name in {_HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
