"""TensorRT's importer: what it refuses is in no engine; where it is at hand, it builds them all."""

import os
import subprocess
from pathlib import Path

import onnx
import pytest

from vera import contract

# Unsupported by the importer, or supported with conditions that an engine of ours has no reason to
# meet.
FORBIDDEN = {
    "Loop",
    "If",
    "Scan",
    "NonZero",
    "Unique",
    "Compress",
    "NonMaxSuppression",
    "RoiAlign",
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "ConvTranspose",
    "ScatterND",
    "ScatterElements",
    "GatherND",
    "SequenceAt",
    "SplitToSequence",
    "StringNormalizer",
}


def violations(model: onnx.ModelProto) -> list[str]:
    """What the importer would refuse, as ``node: why``."""
    found = []
    for node in (*model.graph.node, *(n for f in model.functions for n in f.node)):
        if node.op_type in FORBIDDEN:
            found.append(f"{node.name}: {node.op_type}")
        if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
            found.append(f"{node.name}: MaxPool with indices")
        if node.domain not in ("", "ai.onnx") and not model.functions:
            found.append(f"{node.name}: operator of domain {node.domain}")
    types = {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
        onnx.TensorProto.BOOL,
    }
    found += [
        f"{t.name}: type {t.data_type}" for t in model.graph.initializer if t.data_type not in types
    ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", list(contract.ENGINES))
def test_engine_has_nothing_that_the_importer_refuses(tiny_bundle: Path, name: str) -> None:
    assert violations(onnx.load(tiny_bundle / f"{name}.onnx")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(contract.ENGINES))
def test_engine_has_the_batch_as_its_open_axis(tiny_bundle: Path, name: str) -> None:
    graph = onnx.load(tiny_bundle / f"{name}.onnx", load_external_data=False).graph
    for tensor in graph.input:
        named = [d.dim_param for d in tensor.type.tensor_type.shape.dim if d.dim_param]
        assert named[0] == "batch"


@pytest.mark.parametrize(
    "node",
    [
        onnx.helper.make_node("ScatterND", ["a", "b", "c"], ["d"], reduction="add"),
        onnx.helper.make_node("MaxPool", ["a"], ["b", "c"], kernel_shape=[2, 2]),
        onnx.helper.make_node("Loop", ["a", "b"], ["c"]),
    ],
    ids=lambda node: node.op_type,
)
def test_a_forbidden_node_is_found(node: onnx.NodeProto) -> None:
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    assert len(violations(model)) == 1


@pytest.mark.slow
@pytest.mark.skipif(
    "VERA_TRT_PYTHON" not in os.environ, reason="VERA_TRT_PYTHON names no Python with tensorrt-rtx"
)
def test_tensorrt_builds_every_engine(tiny_bundle: Path) -> None:
    script = Path(__file__).parents[2] / ".ci" / "trt_import"
    done = subprocess.run(
        [os.environ["VERA_TRT_PYTHON"], script, tiny_bundle],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("built:") == len(contract.ENGINES)
