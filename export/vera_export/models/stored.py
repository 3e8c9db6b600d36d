"""Safetensors files of converted networks: their header names architecture and configuration."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file
from torch import nn

from vera_export.models.convolution import read_weights

M = TypeVar("M", bound=nn.Module)


def save_stored(model: nn.Module, config: Any, architecture: str, path: Path) -> None:
    """Writes the weights; ``config`` is the dataclass that the network was built from."""
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    header = {"architecture": architecture, "config": json.dumps(asdict(config))}
    save_file(tensors, path, header)


def load_stored(path: Path, build: Callable[..., M]) -> M:
    """Reads a network, strictly; ``build`` makes it from the fields of its configuration."""
    raw, tensors = read_weights(path)
    model = build(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})
    model.load_state_dict(tensors, strict=True)
    return model.eval()
