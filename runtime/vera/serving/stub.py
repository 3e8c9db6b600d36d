"""Whether Triton's Python stub and the NumPy of its environment understand each other."""

import numpy as np

from vera.errors import EngineError
from vera.serving.responder import BackendUtils


def require_sound_tensors(utils: BackendUtils) -> None:
    """Refuses a stub that corrupts tensors without a word: those before 2.52 with NumPy 2.

    Raises:
        EngineError: A tensor did not come back as it was.
    """
    sent = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    # Through the stub's own memory: what is simply read back never left NumPy.
    back = utils.Tensor.from_dlpack("probe", utils.Tensor("probe", sent)).as_numpy()
    if not np.array_equal(sent, back):
        raise EngineError(
            f"This tritonserver's Python back end corrupts tensors of NumPy {np.__version__}; pip "
            "install 'numpy<2' in its environment, or take a tritonserver from 24.11 on."
        )
