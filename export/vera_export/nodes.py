"""Operators that a traced graph keeps whole, because ONNX has a better form for them.

Each is one node of the traced graph, runs in torch as written here, and is lowered by ``emit``.
"""

import torch
from torch import Tensor


@torch.library.custom_op("vera::product", mutates_args=())
def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product over the last two axes, as ``torch.matmul``.

    ``torch.matmul`` decomposes into an expansion of the smaller operand and a batched product,
    which copies frozen weights once per sample; ONNX's MatMul broadcasts.
    """
    return torch.matmul(a, b)


@torch.library.custom_op("vera::leaky_gradient", mutates_args=())
def leaky_gradient(grad: Tensor, y: Tensor, slope: float) -> Tensor:
    """Gradient of the leaky ReLU from its output ``y``, which has the sign of its input."""
    return torch.where(y > 0, grad, grad * slope)


@torch.library.custom_op("vera::shuffle", mutates_args=())
def shuffle(x: Tensor) -> Tensor:
    """Depth to space by 2: [n, 4 c, h, w] -> [n, c, 2 h, 2 w]."""
    return torch.nn.functional.pixel_shuffle(x, 2)


@torch.library.custom_op("vera::unshuffle", mutates_args=())
def unshuffle(x: Tensor) -> Tensor:
    """Space to depth by 2, the inverse of :func:`shuffle`."""
    return torch.nn.functional.pixel_unshuffle(x, 2)


@torch.library.custom_op("vera::pool", mutates_args=())
def pool(x: Tensor) -> Tensor:
    """Mean over 2 x 2 squares of [n, c, h, w]."""
    return torch.nn.functional.avg_pool2d(x, 2)


@torch.library.custom_op("vera::repeat", mutates_args=())
def repeat(x: Tensor) -> Tensor:
    """Every pixel of [n, c, h, w] as a 2 x 2 square."""
    return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
