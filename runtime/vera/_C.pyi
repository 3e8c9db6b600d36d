"""The extension's interface, as `csrc/bindings*.cpp` define it."""

from typing import Any

from vera.ops import BuildInfo

NORM_EPS: float

def build_info() -> BuildInfo: ...
def inversion_loss(
    terms: list[tuple[Any, ...]], partials: Any, values: Any, threads: int, stream: int
) -> None: ...
def inversion_loss_tiles(channels: int, pixels: int) -> int: ...
def adam_step(
    latent: Any,
    grad: Any,
    m: Any,
    v: Any,
    step: Any,
    latent_mean: Any | None,
    tie: Any | None,
    frozen: Any | None,
    links: Any,
    steps: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    regulariser: float,
    stream: int,
) -> None: ...
def learning_rate_at(step: float, steps: float, learning_rate: float) -> float: ...

COLOUR_SUMS: int
MULTIBAND_MAX_BANDS: int

def mask_bounds(mask: Any) -> tuple[int, int, int, int]: ...
def poisson_workspace_bytes(width: int, height: int) -> int: ...
def multiband_workspace_bytes(width: int, height: int, bands: int) -> int: ...
def poisson_blend(
    photo: Any,
    generated: Any,
    mask: Any,
    valid: Any | None,
    screening_map: Any | None,
    out: Any,
    correction: Any | None,
    workspace: Any,
    corner: tuple[int, int],
    region: tuple[int, int, int, int],
    borders: tuple[bool, bool, bool, bool],
    screening: float,
    tolerance: float,
    max_cycles: int,
    stream: int,
) -> tuple[int, float]: ...
def multiband_blend(
    photo: Any,
    generated: Any,
    distance: Any,
    out: Any,
    workspace: Any,
    corner: tuple[int, int],
    region: tuple[int, int, int, int],
    bands: int,
    band: float,
) -> None: ...
def colour_sums(
    photo: Any,
    generated: Any,
    ring: Any,
    workspace: Any,
    corner: tuple[int, int],
    region: tuple[int, int, int, int],
) -> tuple[float, ...]: ...
def colour_apply(
    photo: Any,
    generated: Any,
    affine: Any,
    out: Any,
    corner: tuple[int, int],
    region: tuple[int, int, int, int],
) -> None: ...
