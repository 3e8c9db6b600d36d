"""One step of each stage lowers its loss, on synthetic images and the tiny preset."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vera import contract
from vera_export.models.discriminator import Discriminator, DiscriminatorConfig
from vera_export.models.mapping import ATTRIBUTE_WIDTHS
from vera_export.training.adversarial import (
    AdversarialRecipe,
    Fake,
    discriminator_loss,
    r1_penalty,
    swapped_fake,
)
from vera_export.training.batches import Batch, mirrored
from vera_export.training.generator import (
    Networks,
    Recipe,
    losses,
    restore,
    save,
    swap_identity,
)


def blobs(n: int = 4) -> Batch:
    """Coloured discs on grey, with a part map that says skin where the disc is."""
    y, x = np.mgrid[:256, :256]
    disc = torch.from_numpy(((x - 128) ** 2 + (y - 128) ** 2 < 80**2).astype(np.float32))
    colour = torch.linspace(-0.8, 0.8, n * 3).reshape(n, 3, 1, 1)
    labels = disc[::2, ::2].long().expand(n, -1, -1).clone()
    attributes = {k: torch.zeros(n, w) for k, w in ATTRIBUTE_WIDTHS.items()}
    return Batch(disc * colour, labels, attributes)


def test_reconstruction_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    nets, batch = Networks("tiny"), blobs()
    optimiser = torch.optim.Adam(nets.parameters(), 5e-3)
    seen = []
    for _ in range(4):
        terms, _, _ = losses(nets, batch, None, Recipe())
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        seen.append(float(total.detach()))
    assert seen[-1] < 0.9 * seen[0]


def test_discriminator_steps_lower_its_loss() -> None:
    torch.manual_seed(0)
    batch = blobs()
    critic = Discriminator(DiscriminatorConfig.tiny())
    fake = Fake(torch.randn(4, 3, 256, 256), batch.onehot.flip(1), torch.zeros(4, 32, 64))
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2, betas=(0.0, 0.99))
    seen = []
    for _ in range(6):
        loss = discriminator_loss(critic, batch, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]


def test_r1_penalty_is_zero_only_for_a_flat_discriminator() -> None:
    batch = blobs()
    critic = Discriminator(DiscriminatorConfig.tiny())
    assert float(r1_penalty(critic, batch, AdversarialRecipe()).detach()) > 0
    with torch.no_grad():
        critic.score.weight.zero_()
    assert float(r1_penalty(critic, batch, AdversarialRecipe()).detach()) == 0


def test_cycle_loss_reaches_encoder_and_generator() -> None:
    torch.manual_seed(0)
    nets = Networks("tiny")
    _, cycle = swapped_fake(nets, blobs())
    cycle.backward()
    assert nets.encoder.whole.weight.grad is not None
    assert float(nets.generator.fuse.grad.abs().sum()) > 0


def test_swapped_identity_keeps_pose_expression_age_and_hair() -> None:
    a, b = torch.zeros(1, 32, 64), torch.ones(1, 32, 64)
    swapped = swap_identity(a, b)[0, :, 0]
    kept = [contract.high_level_row(n) for n in ("pose", "expression", "age")]
    kept += [0, 1, contract.shape_row(7), contract.texture_row(7), contract.shape_row(0)]
    assert swapped[kept].abs().sum() == 0
    assert swapped[contract.high_level_row("identity")] == 1
    assert swapped[contract.shape_row(contract.CLASSES.index("nose"))] == 1


def test_mirroring_changes_the_sign_of_yaw_and_roll_only() -> None:
    batch = blobs()
    batch.attributes["pose"][:] = torch.tensor([1.0, 2.0, 3.0])
    assert mirrored(batch).attributes["pose"][0].tolist() == [-1.0, 2.0, -3.0]


@pytest.mark.parametrize("start", ["networks.safetensors", "."])
def test_a_run_resumes_from_a_checkpoint_or_from_the_single_networks(
    tmp_path: Path, start: str
) -> None:
    trained, fresh = Networks("tiny"), Networks("tiny")
    save(trained, trained, tmp_path)
    restore(fresh, tmp_path / start)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name
