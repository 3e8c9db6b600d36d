"""The projected discriminator in training: the face at half size, and a window at full size."""

import torch
from torch import Tensor, nn

from vera_export.models.layers import mean_pool
from vera_export.models.projected import (
    ProjectedConfig,
    ProjectedDiscriminator,
    hinge_discriminator,
)
from vera_export.training.adversarial import Fake, Window
from vera_export.training.batches import Batch
from vera_export.training.diffaugment import Augmentation
from vera_export.training.recipe import Recipe
from vera_export.training.reconstruction import teacher_input

_VIEW = 64  # side of the window in pixels of the part map: 128 px, as large as the halved crop


class ProjectedJudge:
    """An ``Adversary`` on the features of the frozen perceptual teacher."""

    name = "projected"

    def __init__(
        self,
        teacher: nn.Module,
        recipe: Recipe,
        device: str = "cpu",
        config: ProjectedConfig | None = None,
    ) -> None:
        """``teacher`` maps images [n, 3, h, w] RGB 0..255 to a list of feature maps."""
        self.teacher = teacher
        self.weight, self.rate = recipe.projected, recipe.projected_rate
        self.augmentation = Augmentation(recipe.augmentation)
        with torch.no_grad():
            channels = tuple(f.shape[1] for f in teacher(torch.zeros(1, 3, 64, 64, device=device)))
        self.critic = nn.ModuleDict(
            {view: ProjectedDiscriminator(channels, config) for view in ("whole", "window")}
        ).to(device)

    def generator_loss(self, fake: Fake) -> Tensor:
        """Negative mean score of both views."""
        self.critic.requires_grad_(False)
        scores = self._scores(fake.image, fake.parts, Window.random(_VIEW))
        for critic in self.critic.values():
            assert isinstance(critic, ProjectedDiscriminator)
            critic.judges.requires_grad_(True)
        return torch.stack([-score.mean() for score in scores]).mean()

    def discriminator_loss(self, batch: Batch, fake: Fake) -> Tensor:
        """Hinge loss of both views; also steers the augmentation."""
        window = Window.random(_VIEW)
        real = self._scores(batch.crop, batch.onehot, window)
        made = self._scores(fake.image.detach(), fake.parts.detach(), window)
        self.augmentation.follow(torch.cat(real, 1))
        losses = [hinge_discriminator(r, m) for r, m in zip(real, made, strict=True)]
        return torch.stack(losses).mean()

    def penalty(self, batch: Batch) -> None:
        """None: spectral normalisation bounds it."""

    def _scores(self, image: Tensor, parts: Tensor, window: Window) -> list[Tensor]:
        whole = self.augmentation(mean_pool(image), mean_pool(parts))[0]
        part = self.augmentation(*window.cut(image, parts))[0]
        with torch.autocast(image.device.type, torch.bfloat16):
            maps = self.teacher(teacher_input(torch.cat([whole, part])))
        n = len(image)
        views = ([m[:n] for m in maps], [m[n:] for m in maps])
        return [self.critic[v](m) for v, m in zip(("whole", "window"), views, strict=True)]
