"""Losses of the refiner, at the crop's scale and at twice it, and the critics of both.

What critics and perceptual teacher see has the real surroundings, so a seam gives a fake away.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera_export.models.layers import mean_pool
from vera_export.models.refiner import PatchCritic, Refiner
from vera_export.training.reconstruction import feature_distance


@dataclass(frozen=True)
class RefinerRecipe:
    """Settings of the training.

    Attributes:
        faces: Windows with a target at the crop's side, per step.
        portraits: Windows with a target at twice the side, per step.
        window: Side of a window in crop pixels.
        pool: Composites kept of either kind; every other step makes one.
        start: Composites of either kind made before the first step.
        peak: Largest learning rate.
        critic_rate: Learning rate of the critics; at a rate usual for long runs, equalised weights
            hardly move in a few hundred steps.
        pixel: Weight of L1 in the mask.
        edges: Weight of L1 of the differences between neighbours, threefold at the seam.
        perceptual: Weight of the distance of the teacher's features.
        adversarial: Weight of the non-saturating loss (Goodfellow 2014).
        r1: Weight of the critics' gradient penalty (Mescheder 2018).
        r1_every: Steps between penalties.
        critics_from: Step from which the critics learn.
        adversarial_from: Step from which the refiner listens to them.
        averaging: Decay per step of the averaged weights, which are what is kept.
        max_steps: Upper limit of steps, for tests.
    """

    faces: int = 4
    portraits: int = 2
    window: int = 128
    pool: int = 500
    start: int = 40
    peak: float = 8e-4
    critic_rate: float = 5e-3
    pixel: float = 1.0
    edges: float = 1.0
    perceptual: float = 0.3
    adversarial: float = 0.04
    r1: float = 1.0
    r1_every: int = 16
    critics_from: int = 60
    adversarial_from: int = 160
    averaging: float = 0.995
    max_steps: int | None = None

    def continued(self) -> "RefinerRecipe":
        """For a run from a trained refiner: only the critics are new, and begin at once."""
        return replace(self, critics_from=0, adversarial_from=min(80, self.adversarial_from))


@dataclass(frozen=True)
class Windows:
    """Windows of composites that share the scale of their target.

    Attributes:
        image: [n, 3, w, w] in [-1, 1], composed.
        mask: [n, 1, w, w], 1 where generated.
        target: [n, 3, k w, k w] in [-1, 1]; k is 1 or 2.
    """

    image: Tensor
    mask: Tensor
    target: Tensor


@dataclass(frozen=True)
class View:
    """Output and target at one scale, each with the real surroundings; mask [n, 1, s, s]."""

    ours: Tensor
    real: Tensor
    mask: Tensor


def view_of(output: Tensor, windows: Windows) -> View:
    """The output at the scale of the target: as it is, or reduced by two."""
    if windows.target.shape[-1] == windows.image.shape[-1]:
        real, mask = windows.target, windows.mask
        return View(within(mean_pool(output), real, mask), real, mask)
    mask = functional.interpolate(windows.mask, scale_factor=2.0, mode="bilinear")
    return View(within(output, windows.target, mask), windows.target, mask)


def within(ours: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """``ours`` inside the mask, ``real`` outside."""
    return mask * ours + (1 - mask) * real


def fidelity(view: View, teacher: nn.Module | None, recipe: RefinerRecipe) -> dict[str, Tensor]:
    """Weighted terms of one view: pixels, edges with the seam, features."""
    share = view.mask.mean() + 1e-3
    difference = view.ours - view.real
    terms = {"pixel": recipe.pixel * difference.abs().mean() / share}
    seam = (
        functional.max_pool2d(view.mask, 5, 1, 2)
        - 1
        + functional.max_pool2d(1 - view.mask, 5, 1, 2)
    )
    weight = 1 + 2 * seam.clamp(0, 1)
    across = (difference.diff(dim=3).abs() * weight[..., 1:]).mean()
    down = (difference.diff(dim=2).abs() * weight[..., 1:, :]).mean()
    terms["edges"] = recipe.edges * (across + down) / share
    if teacher is not None:
        part = _part(view)
        terms["perceptual"] = recipe.perceptual * feature_distance(teacher, part.ours, part.real)
    return terms


class Critics(nn.Module):
    """One critic per scale: of the crop, and of twice its side."""

    def __init__(self, recipe: RefinerRecipe) -> None:
        """Both with their optimiser."""
        super().__init__()
        self.coarse, self.fine = PatchCritic(), PatchCritic()
        self._recipe, self._steps = recipe, 0
        self._adam = torch.optim.Adam(self.parameters(), recipe.critic_rate, betas=(0.0, 0.99))

    def judge(self, pairs: list[tuple[PatchCritic, View]]) -> Tensor:
        """The refiner's loss: it is high where the critics are sure of a fake."""
        self.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            losses = [
                _counted(functional.softplus(-critic(part.ours)), part.mask)
                for critic, part in ((critic, _part(view)) for critic, view in pairs)
            ]
        self.requires_grad_(True)
        return torch.stack(losses).mean()

    def learn(self, pairs: list[tuple[PatchCritic, View]]) -> Tensor:
        """One step of both, with R1 now and then; returns their loss."""
        losses = []
        for critic, view in pairs:
            part = _part(view)
            with torch.autocast("cpu", torch.bfloat16):
                made, real = critic(part.ours.detach()), critic(part.real)
            losses.append(
                _counted(functional.softplus(made) + functional.softplus(-real), part.mask)
            )
        total = torch.stack(losses).mean()
        penalised = total
        if self._steps % self._recipe.r1_every == 0:
            penalised = total + torch.stack([self._r1(c, v) for c, v in pairs]).mean()
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward([penalised])
        self._adam.step()
        self._steps += 1
        return total.detach()

    def _r1(self, critic: PatchCritic, view: View) -> Tensor:
        x = _part(view).real.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(x).mean(1).sum(), x, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean()
        return self._recipe.r1_every * self._recipe.r1 / 2 * penalty


def _counted(losses: Tensor, mask: Tensor) -> Tensor:
    """Mean over patches [n, p] of a picture whose mask is [n, 1, s, s], by their share of it.

    Patches of the surroundings are the same in both pictures and say nothing.
    """
    side = math.isqrt(losses.shape[1])
    weight = functional.adaptive_avg_pool2d(mask, side).flatten(1)
    return (losses * weight).sum() / (weight.sum() + 1e-3)


def _part(view: View, side: int = 128) -> View:
    """A random square of at most ``side``; teacher and critics are local, more costs time only."""
    spare = max(0, view.real.shape[-1] - side)
    top, left = (int(v) * 2 for v in torch.randint(0, spare // 2 + 1, (2,)))
    y, x = slice(top, top + side), slice(left, left + side)
    return View(*(image[..., y, x] for image in (view.ours, view.real, view.mask)))


class Objective:
    """Losses of one step; the critics learn on the way."""

    def __init__(self, critics: Critics, teacher: nn.Module | None, recipe: RefinerRecipe) -> None:
        """``teacher`` None leaves the perceptual term out."""
        self.critics, self.teacher, self.recipe = critics, teacher, recipe
        self.steps = 0

    def __call__(self, model: Refiner, batch: list[Windows]) -> dict[str, Tensor]:
        """The weighted terms, and their sum as ``loss``."""
        pairs: list[tuple[PatchCritic, View]] = []
        sums: dict[str, Tensor] = {}
        for windows in batch:
            with torch.autocast("cpu", torch.bfloat16):
                output = model(windows.image, windows.mask)
            view = view_of(output.float(), windows)
            with torch.autocast("cpu", torch.bfloat16):
                terms = fidelity(view, self.teacher, self.recipe)
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros(())) + value / len(batch)
            double = windows.target.shape[-1] > windows.image.shape[-1]
            pairs.append((self.critics.fine if double else self.critics.coarse, view))
        if self.steps >= self.recipe.adversarial_from:
            sums["adversarial"] = self.recipe.adversarial * self.critics.judge(pairs)
        sums["loss"] = torch.stack(list(sums.values())).sum()
        if self.steps >= self.recipe.critics_from:
            sums["critics"] = self.critics.learn(pairs)
        self.steps += 1
        return sums
