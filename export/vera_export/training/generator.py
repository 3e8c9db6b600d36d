"""Training of the generator and its encoder: reconstruction first.

One part-coded encoder and the generator learn together to reproduce synthetic faces; high-level
rows come half of the time from the mapping of measured attributes, so that these rows carry the
attributes.
"""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vera import contract
from vera_export.models.encoder import Encoder, EncoderConfig
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.mapping import HighLevelMapping
from vera_export.training.batches import Batch, Batches
from vera_export.training.reconstruction import (
    attribute_loss,
    part_loss,
    perceptual_loss,
    pixel_loss,
)
from vera_export.training.teachers import Differentiable

_HIGH = len(contract.HIGH_LEVEL)


@dataclass(frozen=True)
class Recipe:
    """Settings of the first stage."""

    batch: int = 16
    learning_rate: float = 2e-3
    warm_up_steps: int = 100
    decay_from: float = 0.6  # share of the time after which the learning rate falls linearly
    pixel: float = 2.0
    perceptual: float = 0.35
    parts: float = 0.15
    attributes: float = 0.1
    codes: float = 2e-4
    code_noise: float = 0.05
    averaging: float = (
        0.99  # decay per step of the averaged weights; longer averages lag on short runs
    )
    save_every_s: float = 240.0

    @classmethod
    def continued(cls) -> "Recipe":
        """For a run that starts from trained networks: gentler, and fading earlier."""
        return cls(learning_rate=1.5e-3, decay_from=0.35, code_noise=0.03)


class Networks(nn.Module):
    """Everything that the stage trains, as one module, so that one checkpoint holds it."""

    def __init__(self, preset: str = "default") -> None:
        """``preset``: default or tiny."""
        super().__init__()
        tiny = preset == "tiny"
        self.generator = Generator(GeneratorConfig.tiny() if tiny else None)
        self.encoder = Encoder(EncoderConfig.tiny() if tiny else None)
        self.mapping = HighLevelMapping()


def losses(
    nets: Networks, batch: Batch, teacher: Differentiable | None, recipe: Recipe
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The weighted terms of one step, and image and segmentation logits they were computed on."""
    with torch.autocast("cpu", torch.bfloat16):
        latent = nets.encoder(batch.crop, batch.onehot)
        mapped = nets.mapping(batch.attributes)
        use = (torch.rand(len(latent), 1, 1) < 0.5).to(latent.dtype)
        high = use * mapped + (1 - use) * latent[:, -_HIGH:]
        codes = torch.cat([latent[:, :-_HIGH], high], 1)
        codes = codes + recipe.code_noise * torch.randn_like(codes)
        image, segmentation, depth = nets.generator(codes)
        terms = {}
        if teacher is not None:
            terms["perceptual"] = recipe.perceptual * perceptual_loss(teacher, image, batch.crop)
    image, segmentation, depth = image.float(), segmentation.float(), depth.float()
    terms["pixel"] = recipe.pixel * pixel_loss(image, batch)
    terms["parts"] = recipe.parts * part_loss(segmentation, depth, batch.labels)
    terms["attributes"] = recipe.attributes * attribute_loss(
        nets.mapping, latent[:, -_HIGH:].float(), mapped.float(), batch
    )
    terms["codes"] = recipe.codes * latent.float().square().mean()
    return terms, image, segmentation


def train(
    data: Path,
    teachers: Path,
    out: Path,
    minutes: float,
    seed: int,
    preset: str = "default",
    resume: Path | None = None,
) -> dict[str, object]:
    """Trains generator, encoder and mapping for ``minutes`` and writes their weights to ``out``.

    Args:
        data: Folder of aligned faces with labels, landmarks and embeddings.
        teachers: Folder of teacher networks; the perceptual one is used.
        out: Receives generator, encoder and mapping ``.safetensors``, samples and a JSON summary.
        minutes: Wall-clock budget; the learning-rate schedule is a function of it.
        seed: Of every random draw.
        preset: ``default`` or ``tiny``.
        resume: What to start from: a ``networks.safetensors`` of an earlier run, or a folder with
            generator, encoder and mapping ``.safetensors``.
    """
    torch.manual_seed(seed)
    recipe = Recipe() if resume is None else Recipe.continued()
    batches = Batches(data, seed)
    teacher = Differentiable(teachers / "perceptual_squeezenet10.onnx", outputs=5)
    nets = Networks(preset).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if resume is not None:
        restore(nets, resume)
    average = torch.optim.swa_utils.AveragedModel(
        nets, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.averaging)
    )
    optimiser = torch.optim.Adam(nets.parameters(), recipe.learning_rate, betas=(0.9, 0.99))
    out.mkdir(parents=True, exist_ok=True)
    start, step, saved, log = time.monotonic(), 0, 0.0, []
    while (elapsed := time.monotonic() - start) < minutes * 60:
        rate = _rate(recipe, step, elapsed / (minutes * 60))
        for group in optimiser.param_groups:
            group["lr"] = rate
        terms, _, _ = losses(nets, batches.draw(recipe.batch), teacher, recipe)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(nets.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(nets)
        step += 1
        if step % 50 == 0:
            row = {"step": step, "seconds": round(elapsed), "rate": round(rate, 6)}
            log.append(row | {k: round(float(v.detach()), 4) for k, v in terms.items()})
            (out / "generator_log.json").write_text(json.dumps(log))
        if elapsed - saved > recipe.save_every_s:
            saved = elapsed
            save(nets, average.module, out)
            sample_grid(average.module, batches, out / f"samples_{step:06d}.png")
    save(nets, average.module, out)
    sample_grid(average.module, batches, out / f"samples_{step:06d}.png")
    summary: dict[str, object] = {"recipe": asdict(recipe), "steps": step, "minutes": minutes}
    summary |= {"images_seen": step * recipe.batch, "seed": seed, "data": batches.faces.describe()}
    summary["last"] = log[-1] if log else {}
    (out / "generator.json").write_text(json.dumps(summary, indent=1))
    return summary


def restore(nets: Networks, resume: Path) -> None:
    """Loads one checkpoint, or a folder that holds the three networks one by one."""
    if resume.is_file():
        nets.load_state_dict(load_file(resume))
        return
    for name in ("generator", "encoder", "mapping"):
        nets.get_submodule(name).load_state_dict(load_file(resume / f"{name}.safetensors"))


def save(nets: Networks, average: nn.Module, out: Path) -> None:
    """Writes the resumable checkpoint, and the averaged networks one by one, each by rename."""
    assert isinstance(average, Networks)
    files = {
        "networks": nets,
        "generator": average.generator,
        "encoder": average.encoder,
        "mapping": average.mapping,
    }
    for name, module in files.items():
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        temporary = out / f".{name}.safetensors.part"
        save_file(state, temporary)
        temporary.replace(out / f"{name}.safetensors")


@torch.no_grad()
def sample_grid(nets: nn.Module, batches: Batches, path: Path) -> None:
    """Held-out faces: reconstruction, then the identity parts of the next person, as one PNG."""
    assert isinstance(nets, Networks)
    batch = batches.rows(torch.from_numpy(batches.faces.val[:6]))
    with torch.autocast("cpu", torch.bfloat16):
        latent = nets.encoder(batch.crop, batch.onehot)
        swapped = swap_identity(latent, latent.roll(1, 0))
        rows = [batch.crop] + [nets.generator(x)[0].float() for x in (latent, swapped)]
    grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    pixels = ((grid.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy().astype(np.uint8)
    cv2.imwrite(str(path), pixels[:, :, ::-1])


def swap_identity(latent: Tensor, donor: Tensor) -> Tensor:
    """Latents with the rows of ``donor`` that carry identity: face parts, ears, identity code."""
    keep = torch.ones(contract.LATENT_ROWS, 1, dtype=latent.dtype)
    for name in ("skin", "eye", "brow", "mouth", "nose", "ear"):
        part = contract.CLASSES.index(name)
        keep[contract.shape_row(part)] = 0
        keep[contract.texture_row(part)] = 0
    keep[contract.high_level_row("identity")] = 0
    return latent * keep + donor * (1 - keep)


def _rate(recipe: Recipe, step: int, progress: float) -> float:
    fall = (progress - recipe.decay_from) / (1 - recipe.decay_from)
    fading = 1.0 if fall < 0 else max(0.02, 1 - fall)
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up_steps) * math.sqrt(fading)
