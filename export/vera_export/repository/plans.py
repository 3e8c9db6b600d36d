"""The script that builds TensorRT plans on the machine that will run them."""

from collections.abc import Callable, Iterable

from vera.contract import TensorSpec
from vera.face.detect import LONG_SIDES
from vera.wire.tensors import MODEL
from vera_export.repository.config import BUNDLE, MAX_BATCH, TYPICAL_SIDE, dims_of
from vera_export.repository.tensors import ServedEngine

SCRIPT = "build_plans.sh"

# The detector's sides are multiples of 32, and its longer one is never above the largest of these.
_SMALLEST_SIDE, _LARGEST_SIDE = 32, max(LONG_SIDES)

_HEAD = """#!/bin/sh
# Builds the TensorRT plans of this model repository. Run it on the machine that will serve them,
# with the TensorRT of that server (trtexec on the PATH, or TRTEXEC=/path/to/trtexec): a plan is
# good for one kind of GPU and one version of TensorRT. Before it has run, Triton loads no engine.
set -eu
cd "$(dirname "$0")"
trtexec=${TRTEXEC:-trtexec}

# plan NAME FILE MIN OPT MAX: a plan appears under its name only when it is whole. --noTF32 keeps
# the arithmetic that the bundle was compared and its gate calibrated with.
plan() {
  "$trtexec" --onnx="@BUNDLE@/$2" --saveEngine="$1/1/model.plan.part" --noTF32 --skipInference \\
    --minShapes="$3" --optShapes="$4" --maxShapes="$5"
  mv "$1/1/model.plan.part" "$1/1/model.plan"
}

"""


def build_script(engines: Iterable[ServedEngine], files: Callable[[str], str]) -> str:
    """A shell script with one line per engine, to be run in the repository.

    Args:
        engines: To be built.
        files: Name of an engine's file in the bundle, by the engine's name.
    """
    lines = (
        f"plan {engine.name} {files(engine.name)} \\\n  {' '.join(_profile(engine))}\n"
        for engine in engines
    )
    return _HEAD.replace("@BUNDLE@", f"{MODEL}/{BUNDLE}") + "".join(lines)


def _profile(engine: ServedEngine) -> tuple[str, str, str]:
    smallest = _shapes(engine.inputs, 1, _SMALLEST_SIDE)
    typical = _shapes(engine.inputs, 1, TYPICAL_SIDE)
    return smallest, typical, _shapes(engine.inputs, MAX_BATCH, _LARGEST_SIDE)


def _shapes(tensors: Iterable[TensorSpec], batch: int, side: int) -> str:
    shapes = ((t.name, dims_of(t, batch=batch, side=side)) for t in tensors)
    return ",".join(f"{name}:{'x'.join(map(str, dims))}" for name, dims in shapes)
