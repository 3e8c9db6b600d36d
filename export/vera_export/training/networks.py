"""What the generator's training changes: generator, encoder and the mapping of high-level codes."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.encoder import Encoder, EncoderConfig
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.mapping import HighLevelMapping

HIGH = len(contract.HIGH_LEVEL)
IDENTITY_CLASSES = ("skin", "eye", "brow", "mouth", "nose", "ear")


class Networks(nn.Module):
    """The three networks as one module, so that one optimiser and one checkpoint hold them."""

    def __init__(self, preset: str = "default") -> None:
        """``preset``: default or tiny."""
        super().__init__()
        tiny = preset == "tiny"
        self.generator = Generator(GeneratorConfig.tiny() if tiny else None)
        self.encoder = Encoder(EncoderConfig.tiny() if tiny else None)
        self.mapping = HighLevelMapping()

    def parts(self) -> dict[str, nn.Module]:
        """The networks by the names of their files."""
        return {"generator": self.generator, "encoder": self.encoder, "mapping": self.mapping}


def swap_identity(latent: Tensor, donor: Tensor) -> Tensor:
    """Latents [n, 32, 64] with the rows of ``donor`` that carry identity.

    These are shape and texture of the face parts and ears, and the identity code.
    """
    keep = torch.ones(contract.LATENT_ROWS, 1, dtype=latent.dtype, device=latent.device)
    for name in IDENTITY_CLASSES:
        part = contract.CLASSES.index(name)
        keep[contract.shape_row(part)] = 0
        keep[contract.texture_row(part)] = 0
    keep[contract.high_level_row("identity")] = 0
    return latent * keep + donor * (1 - keep)


def mix_styles(latent: Tensor, donor: Tensor) -> Tensor:
    """Style mixing per part, as SemanticStyleGAN trains with two latents.

    Coarse rows stay. Each class of each sample keeps both codes, takes the texture of ``donor``, or
    takes shape and texture of ``donor``, with equal chances (its ``mixing``: a shape of one with a
    texture of the other never occurs the other way round). Each high-level code comes from either.
    """
    n, k = len(latent), contract.CLASS_COUNT
    choice = torch.randint(3, (n, k), device=latent.device)
    take = torch.zeros(n, contract.LATENT_ROWS, 1, dtype=latent.dtype, device=latent.device)
    for part in range(k):
        take[:, contract.texture_row(part), 0] = (choice[:, part] > 0).to(latent.dtype)
        take[:, contract.shape_row(part), 0] = (choice[:, part] > 1).to(latent.dtype)
    take[:, -HIGH:, 0] = torch.randint(2, (n, HIGH), device=latent.device).to(latent.dtype)
    return latent * (1 - take) + donor * take


def load_folder(nets: Networks, folder: Path) -> None:
    """Reads ``generator``, ``encoder`` and ``mapping`` ``.safetensors`` of a folder, strictly."""
    from safetensors.torch import load_file

    for name, module in nets.parts().items():
        module.load_state_dict(load_file(folder / f"{name}.safetensors"))


def write_folder(nets: Networks, folder: Path) -> None:
    """Writes the three files of :func:`load_folder`, each under another name first."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for name, module in nets.parts().items():
        part = folder / f".{name}.safetensors.part"
        save_file({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}, part)
        part.chmod(0o644)  # safetensors makes it private
        part.replace(folder / f"{name}.safetensors")
