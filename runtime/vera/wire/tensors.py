"""The tensors of the served model ``anonymize``; docs/protocol.md says what is in them.

Both sides hold them as a mapping: a BYTES tensor is a list of bytes, an FP32 tensor an array.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

PROTOCOL = 1  # raised when a message changes its meaning; new optional fields leave it as it is
MODEL = "anonymize"

Tensors = Mapping[str, list[bytes] | npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class WireTensor:
    """One tensor.

    Attributes:
        name: In capitals, as Triton's own examples write them.
        datatype: Of the KServe protocol.
        dims: -1 is any size.
        optional: Whether a request or response may lack it.
    """

    name: str
    datatype: Literal["BYTES", "FP32"]
    dims: tuple[int, ...]
    optional: bool = False


OPTIONS = WireTensor("OPTIONS", "BYTES", (1,))
PHOTOS = WireTensor("PHOTOS", "BYTES", (-1,), optional=True)
MASKS = WireTensor("MASKS", "BYTES", (-1,), optional=True)
PEOPLE = WireTensor("PEOPLE", "FP32", (-1, -1), optional=True)
EVENT = WireTensor("EVENT", "BYTES", (1,))
IMAGE = WireTensor("IMAGE", "BYTES", (1,), optional=True)
PERSON = WireTensor("PERSON", "FP32", (-1,), optional=True)

INPUTS = (OPTIONS, PHOTOS, MASKS, PEOPLE)
OUTPUTS = (EVENT, IMAGE, PERSON)
