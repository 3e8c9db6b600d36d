"""Differentiable augmentation of what the discriminator sees, image and part map alike.

Shifts, mirrors, erased squares and colour changes (Zhao 2020, arXiv 2006.10738), each applied with
a probability that follows how sure the discriminator is of real images (Karras 2020, arXiv
2006.06676, its sign heuristic): with few thousand images it would learn them by heart otherwise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class AugmentationConfig:
    """How much is changed, and how the probability follows.

    Attributes:
        start: Probability of each change at first; 0 with ``images`` 0 switches all off.
        target: Wanted mean sign of the scores of real images.
        images: Real images over which the probability moves by one; 0 keeps ``start``.
        shift: Largest shift as a share of the side.
        erased: Side of the erased square as a share of the side.
        colour: Largest relative change of brightness, contrast and saturation.
    """

    start: float = 0.3
    target: float = 0.6
    images: int = 200_000
    shift: float = 0.125
    erased: float = 0.375
    colour: float = 0.4


class Augmentation:
    """Draws and applies the changes; holds the probability."""

    def __init__(self, config: AugmentationConfig | None = None) -> None:
        """Starts at ``config.start``."""
        self.config = config or AugmentationConfig()
        self.probability = self.config.start

    def follow(self, real_scores: Tensor) -> None:
        """Moves the probability by the signs of a batch of real scores [n, patches]."""
        if self.config.images == 0:
            return
        sign = float(real_scores.detach().mean(1).sign().mean())
        step = len(real_scores) / self.config.images
        moved = self.probability + (step if sign > self.config.target else -step)
        self.probability = min(max(moved, 0.0), 0.85)

    def __call__(self, image: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Image [n, 3, 2s, 2s] and parts [n, k, s, s], both in [-1, 1], changed alike."""
        if self.probability <= 0:
            return image, parts
        image = self._colour(image)
        image, parts = self._mirror(image, parts)
        image, parts = self._shift(image, parts)
        return self._erase(image, parts)

    def _chosen(self, x: Tensor) -> Tensor:
        """[n, 1, 1, 1]: 1 where a change happens."""
        draw = torch.rand(len(x), 1, 1, 1, device=x.device)
        return (draw < self.probability).to(x.dtype)

    def _strength(self, x: Tensor) -> Tensor:
        draw = torch.rand(len(x), 1, 1, 1, device=x.device) * 2 - 1
        return self._chosen(x) * (draw * self.config.colour).to(x.dtype)

    def _colour(self, image: Tensor) -> Tensor:
        image = image + self._strength(image)
        grey = image.mean(1, keepdim=True)
        image = grey + (image - grey) * (1 + self._strength(image))
        mean = image.mean((1, 2, 3), keepdim=True)
        return mean + (image - mean) * (1 + self._strength(image))

    def _mirror(self, image: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        half = self._chosen(image) * (torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5)
        return (
            torch.lerp(image, image.flip(3), half.to(image.dtype)),
            torch.lerp(parts, parts.flip(3), half.to(parts.dtype)),
        )

    def _shift(self, image: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        side = parts.shape[-1]
        reach = int(side * self.config.shift)
        offset = torch.randint(-reach, reach + 1, (len(parts), 2), device=parts.device)
        offset = offset * self._chosen(parts)[:, :, 0, 0].long()
        return _moved(image, 2 * offset, 2 * reach), _moved(parts, offset, reach)

    def _erase(self, image: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        side = parts.shape[-1]
        size = max(1, int(side * self.config.erased))
        corner = torch.randint(0, side - size + 1, (len(parts), 2), device=parts.device)
        line = torch.arange(side, device=parts.device)
        inside = (line >= corner[..., None]) & (line < corner[..., None] + size)  # [n, 2, s]
        hole = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None].to(parts.dtype)
        keep = 1 - hole * self._chosen(parts)
        fine = keep.repeat_interleave(2, 2).repeat_interleave(2, 3).to(image.dtype)
        return image * fine, parts * keep


def _moved(x: Tensor, offset: Tensor, reach: int) -> Tensor:
    """Moves each [k, s, s] of ``x`` by its whole ``offset`` [n, 2] (y, x); zeros come in."""
    n, side = len(x), x.shape[-1]
    padded = functional.pad(x, (reach, reach, reach, reach)).permute(0, 2, 3, 1)
    line = torch.arange(side, device=x.device) + reach
    rows, columns = (line[None] - offset[:, axis, None] for axis in (0, 1))
    sample = torch.arange(n, device=x.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
