"""Operators that a traced graph keeps whole, because ONNX has a better form for them.

Each is one node of the traced graph, runs in torch as written here, and is lowered by ``emit``.
While a graph is traced only the shapes of the results are needed; these stand at the end.
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


@torch.library.custom_op("vera::smooth", mutates_args=())
def smooth(x: Tensor, before: int, after: int) -> Tensor:
    """[n, c, h, w] with zeros around it, filtered by [1, 3, 3, 1] / 4 along both axes.

    Per axis ``before + after - 3`` pixels are added.
    """
    taps = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    padded = torch.nn.functional.pad(x, (before, after, before, after))
    return torch.nn.functional.conv2d(padded, kernel, groups=x.shape[1])


@torch.library.custom_op("vera::peak", mutates_args=())
def peak(x: Tensor) -> Tensor:
    """Maximum of 2 x 2 squares of [n, c, h, w]."""
    return torch.nn.functional.max_pool2d(x, 2)


@torch.library.custom_op("vera::peak_gradient", mutates_args=())
def peak_gradient(grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``grad`` of the squares' maxima ``y`` at every pixel of ``x`` that is the maximum."""
    enlarge = torch.nn.functional.interpolate
    held = enlarge(y, scale_factor=2.0, mode="nearest") == x
    return enlarge(grad, scale_factor=2.0, mode="nearest") * held


def _scaled(x: Tensor, channels: float = 1, side: float = 1) -> Tensor:
    n, c, h, w = x.shape
    return x.new_empty(n, int(c * channels), int(h * side), int(w * side))


def _smoothed(x: Tensor, before: int, after: int) -> Tensor:
    added = before + after - 3
    return x.new_empty(*x.shape[:2], x.shape[2] + added, x.shape[3] + added)


product.register_fake(torch.matmul)
leaky_gradient.register_fake(lambda grad, y, slope: torch.empty_like(y))
shuffle.register_fake(lambda x: _scaled(x, 0.25, 2))
unshuffle.register_fake(lambda x: _scaled(x, 4, 0.5))
pool.register_fake(lambda x: _scaled(x, side=0.5))
repeat.register_fake(lambda x: _scaled(x, side=2))
smooth.register_fake(_smoothed)
peak.register_fake(lambda x: _scaled(x, side=0.5))
peak_gradient.register_fake(lambda grad, x, y: torch.empty_like(x))
