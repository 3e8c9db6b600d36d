"""Adversarial losses of the generator: SemanticStyleGAN's, on drawn faces and reconstructions.

Non-saturating loss, lazy R1 on image and part map, consistency of coarse and fine masks, and
path-length regularisation (Karras 2020, arXiv 1912.04958). Fakes are reconstructions, faces with
parts of two people (style mixing per part), and faces with the identity parts of another person:
what the product shows. A cycle loss asks the encoder for the latents that a drawn face was made
from, so that no row can be ignored.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.discriminator import Discriminator
from vera_export.models.layers import mean_pool
from vera_export.training.batches import Batch
from vera_export.training.diffaugment import Augmentation
from vera_export.training.networks import Networks, mix_styles, swap_identity
from vera_export.training.recipe import Recipe


@dataclass(frozen=True)
class Fake:
    """Generated faces.

    Attributes:
        image: float32 [n, 3, 256, 256], about [-1, 1].
        parts: float32 [n, 13, 128, 128] probabilities.
        coarse: float32 [n, 13, 32, 32] probabilities.
    """

    image: Tensor
    parts: Tensor
    coarse: Tensor

    @classmethod
    def of(cls, image: Tensor, segmentation: Tensor, depth: Tensor) -> "Fake":
        """From the generator's three outputs."""
        return cls(image.float(), segmentation.float().softmax(1), depth.float().softmax(1))

    def part(self, rows: slice) -> "Fake":
        """Some of the faces."""
        return Fake(self.image[rows], self.parts[rows], self.coarse[rows])

    def joined(self, other: "Fake") -> "Fake":
        """Both batches as one."""
        return Fake(
            torch.cat([self.image, other.image]),
            torch.cat([self.parts, other.parts]),
            torch.cat([self.coarse, other.coarse]),
        )

    def detached(self) -> "Fake":
        """Without gradients."""
        return Fake(self.image.detach(), self.parts.detach(), self.coarse.detach())


@dataclass(frozen=True)
class Window:
    """A square that the discriminator looks at: corner and side in pixels of the part map."""

    top: int
    left: int
    side: int = 64

    @classmethod
    def random(cls, side: int) -> "Window":
        """On the face for a part of the crop: the crop's border is never shown to anybody."""
        if side == contract.SEGMENTATION_SIZE:
            return cls(0, 0, side)
        return cls(int(torch.randint(20, 48, ())), int(torch.randint(12, 52, ())), side)

    def cut(self, image: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        """The window of image [n, 3, 256, 256] and probabilities [n, 13, 128, 128] as [-1, 1]."""
        t, x, s = self.top, self.left, self.side
        picture = image[:, :, 2 * t : 2 * (t + s), 2 * x : 2 * (x + s)]
        return picture, parts[:, :, t : t + s, x : x + s] * 2 - 1


class Adversary(Protocol):
    """A discriminator with its losses, as the training sees it.

    Attributes:
        name: Of its terms, and in checkpoints.
        weight: Of its loss in the generator's.
        rate: Its learning rate.
        augmentation: What it sees is changed by this.
    """

    name: str
    weight: float
    rate: float
    augmentation: Augmentation

    @property
    def critic(self) -> nn.Module:
        """Its weights."""
        ...

    def generator_loss(self, fake: Fake) -> Tensor:
        """What the generator minimises; the discriminator's weights get no gradient."""
        ...

    def discriminator_loss(self, batch: Batch, fake: Fake) -> Tensor:
        """What the discriminator minimises."""
        ...

    def penalty(self, batch: Batch) -> Tensor | None:
        """A regulariser that is added every ``r1_every`` steps; None for none."""
        ...


class Judge:
    """The dual-branch discriminator with its augmentation: an :class:`Adversary`."""

    name = "discriminator"

    def __init__(self, critic: Discriminator, recipe: Recipe) -> None:
        """Starts the augmentation anew."""
        self.critic, self.recipe = critic, recipe
        self.weight, self.rate = recipe.adversarial, recipe.discriminator_rate
        self.augmentation = Augmentation(recipe.augmentation)

    def score(self, image: Tensor, parts: Tensor, window: Window) -> Tensor:
        """Scores [n, p] of a window, augmented."""
        seen = self.augmentation(*window.cut(image, parts))
        with torch.autocast(image.device.type, torch.bfloat16):
            scores: Tensor = self.critic(*seen)
        return scores

    def generator_loss(self, fake: Fake) -> Tensor:
        """Non-saturating loss of the generator; the discriminator's weights get no gradient."""
        self.critic.requires_grad_(False)
        score = self.score(fake.image, fake.parts, Window.random(self.critic.config.side))
        self.critic.requires_grad_(True)
        return functional.softplus(-score).mean()

    def discriminator_loss(self, batch: Batch, fake: Fake) -> Tensor:
        """Non-saturating loss of the discriminator; also steers the augmentation."""
        window = Window.random(self.critic.config.side)
        real = self.score(batch.crop, batch.onehot, window)
        made = self.score(fake.image.detach(), fake.parts.detach(), window)
        self.augmentation.follow(real)
        return functional.softplus(-real).mean() + functional.softplus(made).mean()

    def penalty(self, batch: Batch) -> Tensor:
        """R1: squared gradients at real samples, image and part map apart, times its interval.

        In float32: squared gradients of a score vanish in half precision.
        """
        window = Window.random(self.critic.config.side)
        image, parts = (
            x.detach().clone().requires_grad_(True) for x in window.cut(batch.crop, batch.onehot)
        )
        score = self.critic(image, parts).mean(1).sum()
        by_image, by_parts = torch.autograd.grad(score, (image, parts), create_graph=True)
        penalty = self.recipe.r1_image / 2 * by_image.square().sum((1, 2, 3)).mean()
        penalty = penalty + self.recipe.r1_parts / 2 * by_parts.square().sum((1, 2, 3)).mean()
        return penalty * self.recipe.r1_every


def mask_consistency(fake: Fake) -> Tensor:
    """Mean squared difference of the coarse masks and the pooled fine ones, as -1..1 maps."""
    factor = fake.parts.shape[-1] // fake.coarse.shape[-1]
    return 4 * (fake.coarse - mean_pool(fake.parts, factor)).square().mean()


def drawn_latents(nets: Networks, batch: Batch, style_mixing: float) -> Tensor:
    """Latents of people who do not exist: parts of two people, or another one's identity."""
    with torch.no_grad(), torch.autocast(batch.crop.device.type, torch.bfloat16):
        latent = nets.encoder(batch.crop, batch.onehot).float()
    donor = latent.roll(1, 0)
    mixed = (torch.rand(len(latent), 1, 1, device=latent.device) < style_mixing).to(latent.dtype)
    return mixed * mix_styles(latent, donor) + (1 - mixed) * swap_identity(latent, donor)


def draw(nets: Networks, latent: Tensor) -> tuple[Fake, Tensor]:
    """The faces of ``latent`` and the cycle loss of their latents."""
    with torch.autocast(latent.device.type, torch.bfloat16):
        fake = Fake.of(*nets.generator(latent))
        found = nets.encoder(fake.image, fake.parts.to(fake.image.dtype))
    return fake, (found.float() - latent.float()).square().mean()


class PathLength(nn.Module):
    """Path-length regularisation: the image moves alike far for a step of any latent.

    Gradient of the image, times noise, with respect to the rows [n, 32, 64]; its length is the root
    of the mean over rows of the squared norms; it is drawn to its own running mean.
    """

    mean: Tensor

    def __init__(self, decay: float = 0.01) -> None:
        """``decay``: how fast the running mean follows."""
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, nets: Networks, latent: Tensor) -> Tensor:
        """The penalty, in float32, for latents without gradients."""
        latent = latent.detach().float().requires_grad_(True)
        image = nets.generator(latent)[0]
        noise = torch.randn_like(image) / math.sqrt(image.shape[2] * image.shape[3])
        (grad,) = torch.autograd.grad((image * noise).sum(), latent, create_graph=True)
        length = grad.square().sum(2).mean(1).sqrt()
        with torch.no_grad():
            if not bool(self.mean):  # a trained generator's lengths must not be drawn to zero
                self.mean.copy_(length.mean())
            self.mean += self.decay * (length.mean() - self.mean)
        return (length - self.mean).square().mean()
