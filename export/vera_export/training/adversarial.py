"""Second stage of the generator: adversarial sharpening of reconstructions and of new identities.

Continues from the reconstruction stage. Fakes are reconstructions and, half of the time, faces with
the identity parts of another person: what the product shows. Non-saturating loss and lazy R1 on
image and part map (SemanticStyleGAN); a cycle loss asks the encoder to find the codes that a
swapped face was made from, so that a swapped identity row cannot be ignored.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from vera_export.models.discriminator import Discriminator, DiscriminatorConfig
from vera_export.training.batches import Batch, Batches
from vera_export.training.generator import (
    Networks,
    Recipe,
    losses,
    restore,
    sample_grid,
    save,
    swap_identity,
)
from vera_export.training.teachers import Differentiable


@dataclass(frozen=True)
class AdversarialRecipe:
    """Settings of the second stage."""

    learning_rate: float = 6e-4
    discriminator_rate: float = 1.5e-3
    adversarial: float = 0.10
    cycle: float = 0.3
    r1_image: float = 5.0
    r1_parts: float = 50.0
    r1_every: int = 16
    warm_up_steps: int = 60  # the discriminator learns alone first


@dataclass(frozen=True)
class Fake:
    """Generated: image [n, 3, 256, 256], part probabilities [n, 13, 128, 128], latents."""

    image: Tensor
    parts: Tensor
    latent: Tensor


@dataclass(frozen=True)
class Window:
    """A square that the discriminator looks at: corner and side in pixels of the part map."""

    top: int
    left: int
    side: int = 64

    def cut(self, image: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        """The window of image [n, 3, 256, 256] and parts [n, 13, 128, 128], in [-1, 1]."""
        t, x, s = self.top, self.left, self.side
        picture = image[:, :, 2 * t : 2 * (t + s), 2 * x : 2 * (x + s)]
        return picture, parts[:, :, t : t + s, x : x + s] * 2 - 1


def random_window() -> Window:
    """A window on the face: the crop's border is never shown to anybody."""
    top, left = torch.randint(20, 48, ()), torch.randint(12, 52, ())
    return Window(int(top), int(left))


def discriminator_loss(critic: Discriminator, batch: Batch, fake: Fake) -> Tensor:
    """Non-saturating loss of the discriminator."""
    window = random_window()
    with torch.autocast("cpu", torch.bfloat16):
        real = critic(*window.cut(batch.crop, batch.onehot))
        made = critic(*window.cut(fake.image.detach(), fake.parts.detach()))
    return functional.softplus(-real).mean() + functional.softplus(made).mean()


def r1_penalty(critic: Discriminator, batch: Batch, recipe: AdversarialRecipe) -> Tensor:
    """Squared gradients at real samples (Mescheder 2018), image and part map weighted apart."""
    image, parts = (
        x.clone().requires_grad_(True) for x in random_window().cut(batch.crop, batch.onehot)
    )
    score = critic(image, parts).mean(1).sum()
    by_image, by_parts = torch.autograd.grad(score, (image, parts), create_graph=True)
    penalty = recipe.r1_image / 2 * by_image.square().sum((1, 2, 3)).mean()
    penalty = penalty + recipe.r1_parts / 2 * by_parts.square().sum((1, 2, 3)).mean()
    return penalty * recipe.r1_every


def swapped_fake(nets: Networks, batch: Batch) -> tuple[Fake, Tensor]:
    """Faces with the identity of the neighbour in the batch, and the cycle loss of their codes."""
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            latent = nets.encoder(batch.crop, batch.onehot)
        latent = swap_identity(latent, latent.roll(1, 0))
        image, segmentation, _ = nets.generator(latent)
        parts = segmentation.float().softmax(1)
        found = nets.encoder(image, parts.to(image.dtype))
    cycle = (found.float() - latent.float()).square().mean()
    return Fake(image.float(), parts, latent), cycle


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
) -> dict[str, object]:
    """Continues ``resume`` (``networks.safetensors``); arguments as in the first stage."""
    torch.manual_seed(seed)
    first, recipe = Recipe.continued(), AdversarialRecipe()
    batches = Batches(data, seed + 1)
    teacher = Differentiable(teachers / "perceptual_squeezenet10.onnx", outputs=5)
    nets = Networks(preset).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    critic = Discriminator(DiscriminatorConfig.tiny() if preset == "tiny" else None)
    out.mkdir(parents=True, exist_ok=True)
    if resume is not None:
        restore(nets, resume)
        beside = resume.with_name("discriminator.safetensors")
        if beside.is_file():
            critic.load_state_dict(load_file(beside))
    average = torch.optim.swa_utils.AveragedModel(
        nets, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(first.averaging)
    )
    makers = torch.optim.Adam(nets.parameters(), recipe.learning_rate, betas=(0.5, 0.99))
    judges = torch.optim.Adam(critic.parameters(), recipe.discriminator_rate, betas=(0.0, 0.99))
    start, step, saved, log = time.monotonic(), 0, 0.0, []
    while (elapsed := time.monotonic() - start) < minutes * 60:
        progress = elapsed / (minutes * 60)
        for group in makers.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, max(0.05, 2 * (1 - progress)))
        batch = batches.draw(first.batch)
        terms, image, segmentation = losses(nets, batch, teacher, first)
        swapped, cycle = swapped_fake(nets, batch)
        half = first.batch // 2
        fake = Fake(
            torch.cat([image[:half], swapped.image[half:]]),
            torch.cat([segmentation[:half].softmax(1), swapped.parts[half:]]),
            swapped.latent,
        )
        terms["cycle"] = recipe.cycle * cycle
        if step >= recipe.warm_up_steps:
            critic.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                score = critic(*random_window().cut(fake.image, fake.parts))
            terms["adversarial"] = recipe.adversarial * functional.softplus(-score).mean()
            critic.requires_grad_(True)
        _step(makers, nets, torch.stack(list(terms.values())).sum())
        against = discriminator_loss(critic, batch, fake)
        if step % recipe.r1_every == 0:
            against = against + r1_penalty(critic, batch, recipe)
        _step(judges, critic, against)
        average.update_parameters(nets)
        step += 1
        if step % 25 == 0:
            row = {
                "step": step,
                "seconds": round(elapsed),
                "discriminator": round(float(against.detach()), 3),
            }
            log.append(row | {k: round(float(v.detach()), 4) for k, v in terms.items()})
            (out / "adversarial_log.json").write_text(json.dumps(log))
        if elapsed - saved > first.save_every_s or step == 1:
            saved = elapsed
            _save_all(nets, average.module, critic, out)
            sample_grid(average.module, batches, out / f"samples_{step:06d}.png")
    _save_all(nets, average.module, critic, out)
    sample_grid(average.module, batches, out / f"samples_{step:06d}.png")
    summary: dict[str, object] = {"recipe": asdict(recipe), "steps": step, "minutes": minutes}
    summary |= {"images_seen": step * first.batch, "seed": seed, "data": batches.faces.describe()}
    summary["last"] = log[-1] if log else {}
    (out / "adversarial.json").write_text(json.dumps(summary, indent=1))
    return summary


def _step(optimiser: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward([loss])
    nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimiser.step()


def _save_all(nets: Networks, average: nn.Module, critic: Discriminator, out: Path) -> None:
    save(nets, average, out)
    temporary = out / ".discriminator.safetensors.part"
    save_file({k: v.contiguous() for k, v in critic.state_dict().items()}, temporary)
    temporary.replace(out / "discriminator.safetensors")
