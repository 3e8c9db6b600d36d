# ruff: noqa: D102 (forward and backward of each layer are what torch asks of it)
"""Layers that bring their own derivative, made of operators that ONNX has.

Each derivative consists of convolutions, matrix products, splits and elementwise operations;
weights are frozen, so only the gradient of the input is made.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vera_export import nodes


def call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply``, which torch leaves untyped."""
    return function.apply(*arguments)


class Product(torch.autograd.Function):
    """Matrix product and its gradients; an operand that is broadcast must be frozen."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        result: Tensor = nodes.product(a, b)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        left = nodes.product(grad, b.transpose(-1, -2)) if ctx.needs_input_grad[0] else None
        right = nodes.product(a.transpose(-1, -2), grad) if ctx.needs_input_grad[1] else None
        return left, right


class Convolve(torch.autograd.Function):
    """Stride-1 convolution, padded by half the kernel; its gradient is one with the flipped weight.

    A kernel of even size gives one pixel more in each direction.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return nn.functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        weight = ctx.weight.transpose(0, 1).flip(2, 3)
        size = weight.shape[-1]
        return nn.functional.conv2d(grad, weight, padding=size - 1 - size // 2), None, None


class Leaky(torch.autograd.Function):
    """Leaky ReLU whose gradient reads the output, which has the input's sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = nn.functional.leaky_relu(x, slope) if slope else torch.relu(x)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return nodes.leaky_gradient(grad, y, ctx.slope), None


class Shuffle(torch.autograd.Function):
    """Depth to space by 2; its gradient is space to depth."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result: Tensor = nodes.shuffle(x)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        result: Tensor = nodes.unshuffle(grad)
        return result


class Pool(torch.autograd.Function):
    """Mean over 2 x 2 squares; its gradient repeats a quarter of the value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result: Tensor = nodes.pool(x)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        result: Tensor = nodes.repeat(grad * 0.25)
        return result


class Split(torch.autograd.Function):
    """Pieces along axis 1; the gradient joins them, where a slice's would scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *sizes: int) -> tuple[Tensor, ...]:
        ctx.count = len(sizes)
        return tuple(torch.split(x, list(sizes), 1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return torch.cat(grads, 1), *[None] * ctx.count


class Smooth(torch.autograd.Function):
    """The filter [1, 3, 3, 1] / 4 along both axes, channel by channel.

    ``before`` and ``after`` zeros are put around the input; the filter is symmetric, so its
    gradient is the same filter with other zeros.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, before: int, after: int) -> Tensor:
        ctx.zeros = (3 - before, 3 - after)
        result: Tensor = nodes.smooth(x, before, after)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        result: Tensor = nodes.smooth(grad, *ctx.zeros)
        return result, None, None


class Peak(torch.autograd.Function):
    """Maximum of 2 x 2 squares. The gradient goes to every pixel that equals the maximum.

    Ties get it several times where torch picks one of them. Behind a ReLU, the only place where
    this is used, ties are zeros, and the ReLU stops the gradient there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = nodes.peak(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        result: Tensor = nodes.peak_gradient(grad, *ctx.saved_tensors)
        return result


class Stride(torch.autograd.Function):
    """Convolution of stride 2 with one pixel of padding and a kernel of 3 or 4.

    Its gradient is a convolution, too: output pixel ``o`` reads inputs ``2 o - 1 + k``, so of the
    gradient the pixels ``2 i`` and ``2 i + 1`` of each axis are made from outputs ``i - 1`` to
    ``i + 1``, each by taps of its own; depth to space puts them side by side.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
        ctx.constants = weight, taps
        return nn.functional.conv2d(x, weight, bias, stride=2, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, taps = ctx.constants
        o, c = weight.shape[:2]
        padded = nodes.product(nodes.product(taps, weight), taps.T)  # [o, c, 6, 6]
        phases = padded.reshape(o, c, 3, 2, 3, 2).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
        phases = phases.reshape(4 * c, o, 3, 3)
        found: Tensor = nodes.shuffle(nn.functional.conv2d(grad, phases, padding=1))
        return found, None, None, None


class Repeat(torch.autograd.Function):
    """Every pixel as a 2 x 2 square; its gradient is the sum over the square."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result: Tensor = nodes.repeat(x)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        result: Tensor = nodes.pool(grad) * 4
        return result


class Huber(torch.autograd.Function):
    """``x^2 / 2`` up to 1, ``|x| - 1/2`` beyond; its gradient is x, cut off at 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        cut = x.clamp(-1, 1)
        ctx.save_for_backward(cut)
        return cut * (x - cut * 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (cut,) = ctx.saved_tensors
        result: Tensor = grad * cut
        return result
