"""Mapping networks of the high-level codes: measured attributes to latent rows, and back.

VerA gives each high-level attribute (identity, expression, pose, age) its own mapping. Here the
input of a mapping is a measurement, not noise, so a code can be set explicitly (as GAN-Control's
second phase does).
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from vera import contract

# What drives each row: a face embedding; seven expression probabilities and the mouth opening; yaw,
# pitch and roll over 30 degrees; age over 50 years.
ATTRIBUTE_WIDTHS = {"identity": 128, "expression": 8, "pose": 3, "age": 1}


class HighLevelMapping(nn.Module):
    """Attributes [n, width] per name -> high-level rows [n, 4, 64], and read-outs of the rows."""

    def __init__(self) -> None:
        """Builds the networks with random weights."""
        super().__init__()
        d = contract.LATENT_WIDTH
        self.maps = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, 128), nn.LeakyReLU(0.2), nn.Linear(128, d))
                for name, width in ATTRIBUTE_WIDTHS.items()
            }
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(d, width) for name, width in ATTRIBUTE_WIDTHS.items()}
        )

    def forward(self, attributes: dict[str, Tensor]) -> Tensor:
        """Attributes -> rows in the order of ``contract.HIGH_LEVEL``."""
        return torch.stack([self.maps[name](attributes[name]) for name in contract.HIGH_LEVEL], 1)

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows [n, 4, 64] -> attributes."""
        return {name: self.heads[name](rows[:, i]) for i, name in enumerate(contract.HIGH_LEVEL)}

    @classmethod
    def load(cls, path: Path) -> "HighLevelMapping":
        """Reads a safetensors file strictly."""
        from safetensors.torch import load_file

        model = cls()
        model.load_state_dict(load_file(path))
        return model.eval()
