"""Pictures of a training run: what the averaged networks make of held-out faces."""

from pathlib import Path

import torch
from torch import Tensor

from vera import contract
from vera_export.training.batches import Batches
from vera_export.training.networks import Networks, mix_styles, swap_identity


@torch.no_grad()
def sample_grid(nets: Networks, batches: Batches, path: Path, count: int = 6) -> None:
    """One PNG: held-out faces, their reconstructions, then three kinds of drawn faces.

    The kinds are the identity of the next person, parts of the next person (style mixing), and the
    next person's high-level identity code alone. The first row shows training data: such a picture
    stays in the training's folder and is never shipped.
    """
    batch = batches.rows(torch.from_numpy(batches.faces.val[:count]))
    devices = [torch.cuda.current_device()] if batches.device == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.autocast(batches.device, torch.bfloat16):
        torch.manual_seed(0)
        latent = nets.encoder(batch.crop, batch.onehot)
        donor = latent.roll(1, 0)
        code, row = latent.clone(), contract.high_level_row("identity")
        code[:, row] = donor[:, row]
        kinds = (latent, swap_identity(latent, donor), mix_styles(latent, donor), code)
        rows = [batch.crop] + [nets.generator(kind)[0].float() for kind in kinds]
    save_png(torch.cat([torch.cat(list(row), 2) for row in rows], 1), path)


def save_png(image: Tensor, path: Path) -> None:
    """Writes an image [3, h, w] in [-1, 1]; complete or not at all."""
    from PIL import Image

    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    part = path.with_name(f".{path.name}.part")
    Image.fromarray(pixels).save(part, format="PNG")
    part.replace(path)
