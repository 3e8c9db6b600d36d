"""The native operations; the only room that touches the extension ``vera._C``."""

from typing import TypedDict

from vera import _C
from vera.ops.adam_step import AdamState, adam_state_for, adam_step, learning_rate_at
from vera.ops.inversion_loss import LossBuffers, buffers_for, inversion_loss
from vera.ops.inversion_target import InversionTarget, LossWeights, prepare_target

__all__ = [
    "AdamState",
    "BuildInfo",
    "InversionTarget",
    "LossBuffers",
    "LossWeights",
    "adam_state_for",
    "adam_step",
    "buffers_for",
    "build_info",
    "inversion_loss",
    "learning_rate_at",
    "prepare_target",
]


class BuildInfo(TypedDict):
    """What the extension was compiled with."""

    cpu: str  # the instruction set that the loops use on this machine
    openmp: bool
    cuda: bool
    architectures: list[str]  # CUDA architectures, such as "sm_90"


def build_info() -> BuildInfo:
    """What the extension was compiled with, and the CPU path it takes on this machine."""
    return _C.build_info()
