"""One step of the generator's training: which terms a recipe asks for, and in which order."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vera import contract
from vera.errors import UsageError
from vera_export.models.layers import UpConv
from vera_export.training.adversarial import (
    Adversary,
    Fake,
    PathLength,
    draw,
    drawn_latents,
    mask_consistency,
)
from vera_export.training.batches import Batch, Batches
from vera_export.training.checkpoint import scatter
from vera_export.training.contrast import Contrast, quadruples
from vera_export.training.networks import HIGH, Networks
from vera_export.training.recipe import Recipe
from vera_export.training.reconstruction import (
    attribute_loss,
    part_loss,
    perceptual_loss,
    pixel_loss,
)


def reconstruct(
    nets: Networks, batch: Batch, teacher: nn.Module | None, recipe: Recipe
) -> tuple[dict[str, Tensor], Fake]:
    """The weighted terms of reconstructing ``batch``, and the faces they were computed on."""
    with torch.autocast(batch.crop.device.type, torch.bfloat16):
        latent = nets.encoder(batch.crop, batch.onehot)
        mapped = nets.mapping(batch.attributes)
        use = (torch.rand(len(latent), 1, 1, device=latent.device) < 0.5).to(latent.dtype)
        high = use * mapped + (1 - use) * latent[:, -HIGH:]
        codes = torch.cat([latent[:, :-HIGH], high], 1)
        codes = codes + recipe.code_noise * torch.randn_like(codes)
        image, segmentation, depth = nets.generator(codes)
        terms = {}
        if teacher is not None and recipe.perceptual:
            terms["perceptual"] = recipe.perceptual * perceptual_loss(teacher, image, batch.crop)
    terms["pixel"] = recipe.pixel * pixel_loss(image.float(), batch)
    terms["parts"] = recipe.parts * part_loss(segmentation.float(), depth.float(), batch.labels)
    terms["attributes"] = recipe.attributes * attribute_loss(
        nets.mapping, latent[:, -HIGH:].float(), mapped.float(), batch
    )
    terms["codes"] = recipe.codes * latent.float().square().mean()
    return terms, Fake.of(image, segmentation, depth)


@dataclass(frozen=True)
class Critics:
    """Who judges the generator; what a recipe leaves out is None or missing."""

    perceptual: nn.Module | None = None
    adversaries: tuple[Adversary, ...] = ()
    contrast: Contrast | None = None


class Trainer:
    """Networks, optimisers and critics of one run; :meth:`step` changes them by one batch."""

    def __init__(self, nets: Networks, critics: Critics, batches: Batches, recipe: Recipe) -> None:
        """Adam for the networks, one for each discriminator; an average of the networks."""
        self.nets, self.critics, self.batches, self.recipe = nets, critics, batches, recipe
        self.average = torch.optim.swa_utils.AveragedModel(
            nets, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.averaging)
        )
        beta = 0.5 if critics.adversaries else 0.9
        self.makers = torch.optim.Adam(nets.parameters(), recipe.learning_rate, betas=(beta, 0.99))
        self.judges = [
            torch.optim.Adam(adversary.critic.parameters(), adversary.rate, betas=(0.0, 0.99))
            for adversary in critics.adversaries
        ]
        self.path_length = PathLength().to(batches.device)
        self.steps = self.begun = 0
        self.heard_from = recipe.adversarial_from
        self.skipped = 0

    @property
    def averaged(self) -> Networks:
        """The averaged networks."""
        assert isinstance(self.average.module, Networks)
        return self.average.module

    def step(self, progress: float) -> dict[str, Tensor]:
        """One batch, at a share ``progress`` of the run's time; returns the terms, detached."""
        self._set_rates(progress)
        recipe = self.recipe
        batch = self.batches.draw(recipe.batch)
        self.makers.zero_grad(set_to_none=True)
        terms, fake = reconstruct(self.nets, batch, self.critics.perceptual, recipe)
        if self.critics.adversaries or recipe.mask_consistency or recipe.cycle:
            drawn_terms, fake = self._drawn(batch, fake)
            terms |= drawn_terms
        torch.stack(list(terms.values())).sum().backward()
        terms |= self._contrast(batch) | self._path(batch)
        norm = nn.utils.clip_grad_norm_(self.nets.parameters(), 5.0)
        if not bool(norm.isfinite()):  # one such gradient would spoil weights, average, checkpoint
            self.steps += 1
            self.skipped += 1
            return {name: value.detach() for name, value in terms.items()}
        self.makers.step()
        equalise(self.nets)
        fake = fake.detached()
        for adversary, optimiser in zip(self.critics.adversaries, self.judges, strict=True):
            terms[adversary.name] = self._discriminate(adversary, optimiser, batch, fake)
        self.average.update_parameters(self.nets)
        self.steps += 1
        return {name: value.detach() for name, value in terms.items()}

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds."""
        found: dict[str, nn.Module] = {"networks": self.nets, "average": self.averaged}
        found |= {adversary.name: adversary.critic for adversary in self.critics.adversaries}
        if self.critics.contrast is not None:
            found["attributes"] = self.critics.contrast.encoders.attributes
        return found

    def load(self, tensors: dict[str, Tensor]) -> list[str]:
        """Loads a checkpoint's tensors; returns the names of what it held.

        Averages that are not in it start at the networks.

        Raises:
            UsageError: It does not fit, or holds no networks.
        """
        if tensors and not any(name.startswith("networks/") for name in tensors):
            raise UsageError("The checkpoint holds no networks; pass one of the generator's runs.")
        loaded = scatter(tensors, self.modules())
        equalise(self.nets)
        equalise(self.averaged)
        if "average" in loaded:
            self.average.n_averaged.fill_(1)  # else the first update copies the networks over it
        elif "networks" in loaded:
            self.averaged.load_state_dict(self.nets.state_dict())
        if all(adversary.name in loaded for adversary in self.critics.adversaries):
            self.heard_from = min(self.heard_from, self.recipe.warm_up_steps)
        return loaded

    def state(self) -> dict[str, Any]:
        """What belongs to a checkpoint besides weights."""
        probabilities = {a.name: a.augmentation.probability for a in self.critics.adversaries}
        length = float(self.path_length.mean)
        return {"steps": self.steps, "augmentation": probabilities, "path_length": length}

    def go_on(self, state: dict[str, Any]) -> None:
        """Takes up the :meth:`state` of a checkpoint of the same recipe."""
        self.steps = self.begun = int(state.get("steps", 0))
        self.path_length.mean.fill_(float(state.get("path_length", 0.0)))
        for adversary in self.critics.adversaries:
            known = state.get("augmentation", {}).get(adversary.name)
            if known is not None:
                adversary.augmentation.probability = float(known)

    def _set_rates(self, progress: float) -> None:
        recipe = self.recipe
        fall = (progress - recipe.decay_from) / (1 - recipe.decay_from)
        fading = 1.0 if fall < 0 else math.sqrt(max(0.02, 1 - fall))
        warm = min(1.0, (self.steps - self.begun + 1) / recipe.warm_up_steps)
        for group in self.makers.param_groups:
            group["lr"] = recipe.learning_rate * warm * fading
        for adversary, optimiser in zip(self.critics.adversaries, self.judges, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = adversary.rate * warm

    def _drawn(self, batch: Batch, fake: Fake) -> tuple[dict[str, Tensor], Fake]:
        """Terms on drawn faces: half of the batch as reconstructed, half of new people."""
        recipe, half = self.recipe, self.recipe.batch // 2
        latent = drawn_latents(self.nets, first(batch, half), recipe.style_mixing)
        drawn, cycle = draw(self.nets, latent)
        made = fake.part(slice(half, None)).joined(drawn)
        terms = {}
        if recipe.cycle:
            terms["cycle"] = recipe.cycle * cycle
        if recipe.mask_consistency:
            terms["mask_consistency"] = recipe.mask_consistency * mask_consistency(made)
        if self.steps - self.begun >= self.heard_from:
            for adversary in self.critics.adversaries:
                loss = adversary.weight * adversary.generator_loss(made)
                terms[f"against_{adversary.name}"] = loss
        return terms, made

    def _contrast(self, batch: Batch) -> dict[str, Tensor]:
        recipe, contrast = self.recipe, self.critics.contrast
        if contrast is None or self.steps % recipe.contrast_every:
            return {}
        names = list(contract.HIGH_LEVEL) * recipe.quadruples
        _, images = quadruples(self.nets, batch, names, mirror=recipe.mirror)
        loss = recipe.contrast * contrast.loss(images, names)
        torch.autograd.backward([loss])
        return {"contrast": loss}

    def _path(self, batch: Batch) -> dict[str, Tensor]:
        recipe = self.recipe
        if not recipe.path_length or self.steps % recipe.path_every:
            return {}
        few = first(batch, max(2, recipe.batch // 2))
        latent = drawn_latents(self.nets, few, recipe.style_mixing)
        loss = recipe.path_length * recipe.path_every * self.path_length(self.nets, latent)
        torch.autograd.backward([loss])
        return {"path_length": loss}

    def _discriminate(
        self, adversary: Adversary, optimiser: torch.optim.Optimizer, batch: Batch, made: Fake
    ) -> Tensor:
        loss = adversary.discriminator_loss(batch, made)
        total = loss
        if self.steps % self.recipe.r1_every == 0:
            penalty = adversary.penalty(batch)
            total = loss if penalty is None else loss + penalty
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward([total])
        nn.utils.clip_grad_norm_(adversary.critic.parameters(), 5.0)
        optimiser.step()
        return loss


def equalise(nets: nn.Module) -> None:
    """Keeps the sub-pixel convolutions free of a pattern on smooth areas."""
    for module in nets.modules():
        if isinstance(module, UpConv):
            module.equalise()


def first(batch: Batch, count: int) -> Batch:
    """The first ``count`` faces."""
    attributes = {name: value[:count] for name, value in batch.attributes.items()}
    return Batch(batch.crop[:count], batch.labels[:count], attributes)
