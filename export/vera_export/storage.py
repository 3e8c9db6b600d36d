"""How engines lie on disk: halves where that loses nothing, and each weight only once.

Networks are rounded to half precision before export (:func:`round_weights`), so their engines'
constants are halves exactly; every engine casts them back when it loads, and computes in float32.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

if TYPE_CHECKING:
    import onnx

_SMALL = 256  # elements; a constant below it is not worth a node or a place in the shared file
_ALIGNMENT = 64  # bytes


def round_weights(module: nn.Module) -> nn.Module:
    """Rounds every parameter of ``module`` to the nearest half-precision number, in place."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().to(parameter.dtype))
    return module


def halve(model: "onnx.ModelProto") -> None:
    """Stores each initializer that half precision holds exactly as float16 and a cast."""
    from onnx import TensorProto, helper, numpy_helper

    casts, kept = [], []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and value.size >= _SMALL and _is_half(value):
            half = numpy_helper.from_array(value.astype(np.float16), f"{tensor.name}.half")
            casts.append(
                helper.make_node(
                    "Cast", [half.name], [tensor.name], name=tensor.name, to=TensorProto.FLOAT
                )
            )
            kept.append(half)
        else:
            kept.append(tensor)
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def _is_half(value: npt.NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(value.astype(np.float16).astype(np.float32), value))


def share(models: Mapping[str, "onnx.ModelProto"], folder: Path, file: str) -> None:
    """Writes ``<name>.onnx`` per model; their weights go to ``folder/file``, equal ones once."""
    import onnx
    from onnx import external_data_helper, numpy_helper

    places: dict[bytes, int] = {}
    data = bytearray()
    for name, model in models.items():
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.size < _SMALL:
                continue
            raw = np.ascontiguousarray(value).tobytes()
            digest = hashlib.sha256(raw).digest()
            if digest not in places:
                data.extend(bytes(-len(data) % _ALIGNMENT))
                places[digest] = len(data)
                data.extend(raw)
            if not tensor.HasField("raw_data"):  # external data replaces the raw field only
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
            external_data_helper.set_external_data(
                tensor, file, offset=places[digest], length=len(raw)
            )
            tensor.ClearField("raw_data")
        onnx.save_model(model, folder / f"{name}.onnx")
    (folder / file).write_bytes(bytes(data))
