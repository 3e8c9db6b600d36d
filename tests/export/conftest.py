"""Tiny networks and everything exported from them, made once: exporting is the slow part."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vera import contract
from vera_export.bundle import Gate, Release, write_bundle
from vera_export.registry import random_networks
from vera_export.to_onnx import GradientPair, gradient_pair


@pytest.fixture(scope="session")
def tiny_networks() -> dict[str, nn.Module]:
    networks = random_networks("tiny")
    for network in networks.values():
        network.requires_grad_(False)
    return networks


@pytest.fixture(scope="session")
def tiny_pair(tiny_networks: dict[str, nn.Module]) -> GradientPair:
    return gradient_pair(tiny_networks["generator"], tiny_networks["perceptual"])


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "identities.npz"
    shape, one = (contract.LATENT_ROWS, contract.LATENT_WIDTH), np.ones(1, np.float32)
    np.savez(
        path,
        codes=np.zeros((1, *shape), np.float16),
        skin=np.ones((1, 3), np.float32),
        female=one,
        age=one,
        yaw=one,
        embedding=np.full((1, 128), 128**-0.5, np.float16),
        mean=np.zeros(shape, np.float32),
        std=np.ones(shape, np.float32),
    )
    return path


@pytest.fixture(scope="session")
def release() -> Release:
    return Release("tiny", "0.0.1", Gate(0.4, 0.001, "none: random weights"))


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory, identities: Path, release: Release
) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        write_bundle(random_networks("tiny", seed=1), folder, release, identities)
    finally:
        torch.set_num_threads(threads)
    return folder
