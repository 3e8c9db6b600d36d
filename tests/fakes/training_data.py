"""A folder of cartoon faces in the layout of training data, and teachers of random weights."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from vera_export.training.faces import ATTRIBUTE_COLUMNS

POINTS = [(38, 47), (62, 47), (50, 61), (40, 72), (60, 72)]
# File stem, channels and side of the image, of every teacher that `write_teachers` writes.
TEACHERS = {
    "perceptual_squeezenet10": (3, 128),
    "identity_mobilefacenet": (3, 112),
    "facemesh468": (3, 192),
    "emotion7": (1, 64),
    "gear_age_gender": (3, 198),
}


def face(draw: np.random.Generator, size: int = 256) -> npt.NDArray[np.uint8]:
    """A cartoon face, RGB: enough for a loss to fall."""
    scale = size / 100
    image = np.full((size, size, 3), draw.integers(0, 256, 3), np.uint8)
    skin, dark = (tuple(int(v) for v in draw.integers(a, b, 3)) for a, b in ((120, 240), (0, 100)))
    cv2.ellipse(
        image, (size // 2, int(58 * scale)), (int(24 * scale), int(32 * scale)), 0, 0, 360, skin, -1
    )
    for x, y in POINTS:
        cv2.circle(image, (int(x * scale), int(y * scale)), int(3 * scale), dark, -1)
    return image


def write_data(folder: Path, count: int = 6, size: int = 256) -> Path:
    """A data folder in the documented layout; the first three faces are for validation."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    columns = ("id", "split", *ATTRIBUTE_COLUMNS)
    lines = [",".join(columns)]
    for k in range(count):
        image = face(draw, size)
        cv2.imwrite(str(folder / "images" / f"{k}.jpg"), image)
        labels = (image != image[0, 0]).any(-1).astype(np.uint8)
        cv2.imwrite(str(folder / "labels" / f"{k}.png"), labels)
        values = [f"{v:.3f}" for v in draw.random(len(columns) - 2)]
        lines.append(",".join([str(k), "val" if k < 3 else "train", *values]))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    five = np.array(POINTS, np.float16)[None].repeat(count, 0) * (size / 100)
    np.savez(folder / "landmarks.npz", five=five.astype(np.float16))
    embedding = draw.normal(0, 1, (count, 128))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    np.savez(folder / "embeddings.npz", embedding=embedding.astype(np.float16))
    return folder


def initializer(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    outputs: list[str],
    shape: tuple[int | str, ...],
) -> None:
    """A graph of the float input ``image`` of this shape."""
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    infos = [helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph(nodes, "teacher", [image], infos, weights)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def write_identity_teacher(path: Path) -> None:
    """Strided convolutions with a residual sum at 28, 14 and 7 px, then 128 numbers."""
    nodes, weights, x, channels = [], [], "image", 3
    for k, (side, stride) in enumerate(((28, 4), (14, 2), (7, 2))):
        weights.append(initializer(f"w{k}", 4, channels, stride, stride))
        conv = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("Conv", [x, f"w{k}"], [f"c{k}"], **conv),
            helper.make_node("Relu", [f"c{k}"], [f"r{k}"]),
            helper.make_node("Add", [f"r{k}", f"r{k}"], [f"sum{side}"]),
        ]
        x, channels = f"sum{side}", 4
    weights.append(initializer("out", 128, 4 * 49))
    nodes += [
        helper.make_node("Flatten", [x], ["flat"]),
        helper.make_node("Gemm", ["flat", "out"], ["embedding"], transB=1),
    ]
    save_graph(path, nodes, weights, ["embedding"], ("n", 3, 112, 112))


def write_perceptual_teacher(path: Path) -> None:
    """Eight maps at 61, 30 (three) and 15 px (four), the sizes of the real one at 128 px."""
    mean = numpy_helper.from_array(np.full((1, 3, 1, 1), 120, np.float32), "mean")
    weights = [mean, initializer("w0", 4, 3, 7, 7)]
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    nodes = [
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", "w0"], ["c0"], kernel_shape=[7, 7], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["m0"]),
    ]
    for k in range(1, 8):
        x = f"m{k - 1}"
        if k in (1, 4):
            nodes.append(helper.make_node("MaxPool", [x], [f"p{k}"], **pool))
            x = f"p{k}"
        weights.append(initializer(f"w{k}", 4, 4, 1, 1))
        nodes += [
            helper.make_node("Conv", [x, f"w{k}"], [f"c{k}"], kernel_shape=[1, 1]),
            helper.make_node("Relu", [f"c{k}"], [f"m{k}"]),
        ]
    save_graph(path, nodes, weights, [f"m{k}" for k in range(8)], ("n", 3, "side", "side"))


def write_mean_teacher(path: Path, channels: int, size: int, heads: dict[str, int]) -> None:
    """Each head a softmax over a matrix of the mean colour."""
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0)]
    weights = []
    for name, width in heads.items():
        weights.append(initializer(f"w.{name}", channels, width))
        nodes += [
            helper.make_node("Gemm", ["mean", f"w.{name}"], [f"logits.{name}"]),
            helper.make_node("Softmax", [f"logits.{name}"], [name], axis=-1),
        ]
    save_graph(path, nodes, weights, list(heads), ("n", channels, size, size))


def write_mesh_teacher(path: Path) -> None:
    """468 points that are a matrix of the mean colour, and a flag."""
    shape = numpy_helper.from_array(np.array([-1, 468, 3]), "shape")
    weights = [initializer("points", 3, 1404), initializer("one", 3, 1), shape]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["mean", "points"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["landmarks"]),
        helper.make_node("Gemm", ["mean", "one"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["face_flag"]),
    ]
    save_graph(path, nodes, weights, ["landmarks", "face_flag"], ("n", 3, 192, 192))


def write_teachers(folder: Path) -> Path:
    """Every teacher that losses pass through."""
    folder.mkdir(parents=True, exist_ok=True)
    write_perceptual_teacher(folder / "perceptual_squeezenet10.onnx")
    write_identity_teacher(folder / "identity_mobilefacenet.onnx")
    write_mesh_teacher(folder / "facemesh468.onnx")
    write_mean_teacher(folder / "emotion7.onnx", 1, 64, {"probabilities": 7})
    heads = {"age": 7, "gender": 2, "race": 5}
    write_mean_teacher(folder / "gear_age_gender.onnx", 3, 198, heads)
    return folder
