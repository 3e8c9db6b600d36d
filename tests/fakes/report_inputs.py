"""What a quality report is made of, in small: a data folder, teachers that see blobs of light."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from vera import contract
from vera.pixels.align import FFHQ

COLUMNS = ("yaw", "pitch", "roll", "mouth_open", "female", "sharpness")


def cartoon(draw: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A disc with five dots on the alignment's points: image uint8 [256, 256, 3] and labels."""
    colours = draw.integers(0, 256, (3, 3))
    image = np.full((256, 256, 3), colours[0], np.uint8)
    labels = np.zeros((256, 256), np.uint8)
    for plane, colour in ((image, tuple(map(int, colours[1]))), (labels, 1)):
        cv2.ellipse(plane, (128, 150), (70, 85), 0, 0, 360, colour, -1)
    for point, part in zip(FFHQ.points, ("eye", "eye", "nose", "mouth", "mouth"), strict=True):
        at = tuple(round(float(x)) for x in point)
        cv2.circle(image, at, 9, tuple(map(int, colours[2])), -1)
        cv2.circle(labels, at, 9, contract.CLASSES.index(part), -1)
    return image, labels


def write_faces(folder: Path, train: int, val: int) -> Path:
    """A data folder in the layout of ``vera_export.training.dataset``, with embeddings."""
    draw = np.random.default_rng(0)
    count = train + val
    expressions = [f"p_{name}" for name in contract.EXPRESSIONS]
    lines = [",".join(("id", "split", "age", *COLUMNS, *expressions))]
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        image, labels = cartoon(draw)
        cv2.imwrite(str(folder / "images" / f"{k}.jpg"), image[:, :, ::-1])
        cv2.imwrite(str(folder / "labels" / f"{k}.png"), labels)
        values = [f"{v:.3f}" for v in draw.random(len(COLUMNS) + len(expressions))]
        lines.append(",".join((str(k), "val" if k < val else "train", str(25 + k), *values)))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    five = np.repeat(FFHQ.points[None], count, 0).astype(np.float16)
    np.savez(folder / "landmarks.npz", five=five)
    embedding = draw.standard_normal((count, 128)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    np.savez(folder / "embeddings.npz", embedding=embedding.astype(np.float16))
    return folder


def write_photographs(folder: Path, people: int) -> Path:
    """Two photographs of each person, the same but for their noise, and ``landmarks.json``."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(1)
    listed = {}
    for person in range(people):
        image = cartoon(draw)[0].astype(np.int16)
        for mood in ("neutral", "smiling"):
            noisy = (image + draw.integers(-9, 10, image.shape)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{person:03d}_{mood}.jpg"), noisy[:, :, ::-1])
            listed[f"{person:03d}_{mood}.jpg"] = {"points": FFHQ.points.tolist()}
    (folder / "landmarks.json").write_text(json.dumps(listed))
    return folder


def write_teachers(folder: Path) -> Path:
    """The four judges: a mesh that lies around the centre of the light, and linear ones."""
    folder.mkdir(parents=True)
    _write_mesh(folder / "facemesh468.onnx")
    _write_linear(folder / "identity_mobilefacenet.onnx", 3, 112, {"embedding": 128})
    _write_linear(folder / "emotion7.onnx", 1, 64, {"probabilities": 7}, softmax=True)
    gear = {"age": 7, "gender": 2, "race": 5}
    _write_linear(folder / "gear_age_gender.onnx", 3, 198, gear, softmax=True)
    return folder


def mesh_offsets() -> NDArray[np.float32]:
    """The mesh around the centre of the light, [468, 3], in pixels of the teacher's 192 px crop."""
    return np.random.default_rng(5).uniform(-50, 50, (468, 3)).astype(np.float32)


def _write_mesh(path: Path) -> None:
    node = helper.make_node
    places = np.arange(192, dtype=np.float32) + 0.5
    weights = {
        "x": np.broadcast_to(places, (1, 1, 192, 192)),
        "y": np.broadcast_to(places[:, None], (1, 1, 192, 192)),
        "offsets": mesh_offsets()[None],
        "nothing": np.zeros(1, np.float32),
        "layout": np.array([-1, 1, 1], np.int64),
    }
    nodes = [
        node("ReduceMean", ["image"], ["grey"], axes=[1]),
        node("ReduceMean", ["grey"], ["light"], axes=[2, 3]),
    ]
    for axis in ("x", "y"):
        nodes += [
            node("Mul", ["grey", axis], [f"{axis}_lit"]),
            node("ReduceMean", [f"{axis}_lit"], [f"{axis}_sum"], axes=[2, 3]),
            node("Div", [f"{axis}_sum", "light"], [f"{axis}_ratio"]),
            node("Reshape", [f"{axis}_ratio", "layout"], [f"{axis}_mean"]),
        ]
    nodes += [
        node("Mul", ["x_mean", "nothing"], ["zero"]),
        node("Concat", ["x_mean", "y_mean", "zero"], ["centre"], axis=2),
        node("Add", ["centre", "offsets"], ["landmarks"]),
    ]
    _save(path, 3, 192, nodes, weights, ["landmarks"])


def _write_linear(
    path: Path, channels: int, side: int, outputs: dict[str, int], *, softmax: bool = False
) -> None:
    """The image pooled to 8 x 8 and centred, then one matrix per output."""
    draw = np.random.default_rng(side)
    step = side // 8
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["pooled"], kernel_shape=[step] * 2, strides=[step] * 2
        ),
        helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[1, 2, 3]),
        helper.make_node("Sub", ["pooled", "mean"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["flat"]),
    ]
    weights = {}
    for name, width in outputs.items():
        weights[f"w_{name}"] = draw.normal(0, 0.02, (width, channels * 64)).astype(np.float32)
        made = f"{name}_raw" if softmax else name
        nodes.append(helper.make_node("Gemm", ["flat", f"w_{name}"], [made], transB=1))
        if softmax:
            nodes.append(helper.make_node("Softmax", [made], [name]))
    _save(path, channels, side, nodes, weights, list(outputs))


def _save(
    path: Path,
    channels: int,
    side: int,
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray],
    outputs: list[str],
) -> None:
    kind = onnx.TensorProto.FLOAT
    image = helper.make_tensor_value_info("image", kind, ["n", channels, side, side])
    infos = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    held = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "teacher", [image], infos, held)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
