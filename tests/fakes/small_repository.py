"""A model repository with one trivial model, as ``vera serve`` takes it."""

import hashlib
from pathlib import Path

from vera.launch.repository import MARK, RepositoryMark

# Decoupled like the real one: it counts to N, one response each, and works while it does.
SLOW_MODEL = """
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.threads = []

    def execute(self, requests):
        for request in requests:
            n = int(pb_utils.get_input_tensor_by_name(request, "N").as_numpy()[0])
            sender = request.get_response_sender()
            thread = threading.Thread(target=self.work, args=(n, sender))
            thread.start()
            self.threads.append(thread)

    def work(self, n, sender):
        for i in range(n):
            time.sleep(0.1)
            tensor = pb_utils.Tensor("I", np.array([i], np.int32))
            sender.send(pb_utils.InferenceResponse([tensor]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self):
        for thread in self.threads:
            thread.join()
"""

_CONFIG = """name: "count"
backend: "python"
input { name: "N" data_type: TYPE_INT32 dims: 1 }
output { name: "I" data_type: TYPE_INT32 dims: 1 }
instance_group { count: 1 kind: KIND_CPU }
model_transaction_policy { decoupled: true }
"""


def write_small_repository(folder: Path, code: str = SLOW_MODEL) -> Path:
    """One model ``count``, with a mark that fits."""
    (folder / "count" / "1").mkdir(parents=True)
    (folder / "count" / "config.pbtxt").write_text(_CONFIG)
    (folder / "count" / "1" / "model.py").write_text(code)
    digest = hashlib.sha256(code.encode()).hexdigest()
    files = {"count/1/model.py": digest}
    mark = RepositoryMark(backend="python", device="cpu", bundle="0" * 64, files=files)
    (folder / MARK).write_text(mark.to_json())
    return folder
