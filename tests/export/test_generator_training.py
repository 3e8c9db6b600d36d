"""The terms of the generator's training do what they say, on made images and the tiny preset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vera import contract
from vera.errors import UsageError
from vera_export.models.discriminator import Discriminator, DiscriminatorConfig
from vera_export.models.mapping import ATTRIBUTE_WIDTHS
from vera_export.training.adversarial import Fake, Judge, PathLength, draw, mask_consistency
from vera_export.training.batches import Batch, mirrored
from vera_export.training.diffaugment import Augmentation, AugmentationConfig
from vera_export.training.networks import (
    Networks,
    load_folder,
    mix_styles,
    swap_identity,
    write_folder,
)
from vera_export.training.recipe import RECIPES, Recipe, overridden, parse_settings
from vera_export.training.trainer import reconstruct

NOSE = contract.CLASSES.index("nose")


def blobs(n: int = 4) -> Batch:
    """Coloured discs on grey, with a part map that says skin where the disc is."""
    y, x = np.mgrid[:256, :256]
    disc = torch.from_numpy(((x - 128) ** 2 + (y - 128) ** 2 < 80**2).astype(np.float32))
    colour = torch.linspace(-0.8, 0.8, n * 3).reshape(n, 3, 1, 1)
    labels = disc[::2, ::2].long().expand(n, -1, -1).clone()
    attributes = {k: torch.zeros(n, w) for k, w in ATTRIBUTE_WIDTHS.items()}
    return Batch(disc * colour, labels, attributes)


def noise(n: int = 4) -> Fake:
    parts = torch.rand(n, 13, 128, 128).softmax(1)
    return Fake(torch.randn(n, 3, 256, 256), parts, parts[:, :, ::4, ::4])


def test_reconstruction_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    nets, batch = Networks("tiny"), blobs()
    optimiser = torch.optim.Adam(nets.parameters(), 5e-3)
    seen = []
    for _ in range(4):
        terms, _ = reconstruct(nets, batch, None, Recipe())
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        seen.append(float(total.detach()))
    assert seen[-1] < 0.9 * seen[0]


@pytest.mark.parametrize(
    "config",
    [DiscriminatorConfig.tiny(), DiscriminatorConfig((4, 4, 4, 4), 128, whole=True, group=2)],
    ids=["patches", "whole"],
)
def test_discriminator_steps_lower_its_loss(config: DiscriminatorConfig) -> None:
    torch.manual_seed(0)
    critic, batch, fake = Discriminator(config), blobs(), noise()
    judge = Judge(critic, replace(Recipe(), augmentation=AugmentationConfig(start=0, images=0)))
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2, betas=(0.0, 0.99))
    seen = []
    for _ in range(6):
        loss = judge.discriminator_loss(batch, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]


def test_a_whole_discriminator_gives_one_score_and_sees_that_a_batch_is_all_alike() -> None:
    torch.manual_seed(0)
    critic = Discriminator(DiscriminatorConfig((4, 4), 16, whole=True, group=2))
    image, parts = torch.randn(4, 3, 32, 32), torch.randn(4, 13, 16, 16)
    alike = critic(image[:1].expand(4, -1, -1, -1), parts[:1].expand(4, -1, -1, -1))
    assert alike.shape == (4, 1)
    assert not torch.allclose(critic(image, parts)[0], alike[0])


def test_r1_penalty_is_zero_only_for_a_flat_discriminator() -> None:
    judge = Judge(Discriminator(DiscriminatorConfig.tiny()), Recipe())
    assert float(judge.penalty(blobs()).detach()) > 0
    with torch.no_grad():
        judge.critic.score.weight.zero_()
    assert float(judge.penalty(blobs()).detach()) == 0


def test_the_generators_loss_leaves_no_gradient_on_the_discriminator() -> None:
    judge = Judge(Discriminator(DiscriminatorConfig.tiny()), Recipe())
    fake = noise()
    fake.image.requires_grad_(True)
    judge.generator_loss(fake).backward()
    assert all(p.grad is None for p in judge.critic.parameters())
    assert float(fake.image.grad.abs().sum()) > 0


def test_cycle_loss_reaches_encoder_and_generator() -> None:
    torch.manual_seed(0)
    nets = Networks("tiny")
    _, cycle = draw(nets, torch.randn(2, contract.LATENT_ROWS, contract.LATENT_WIDTH))
    cycle.backward()
    assert nets.encoder.whole.weight.grad is not None
    assert float(nets.generator.fuse.grad.abs().sum()) > 0


def test_mask_consistency_is_zero_for_equal_maps_and_counts_differences_on_the_unit_scale() -> None:
    parts = torch.zeros(1, 13, 128, 128)
    parts[:, 0] = 1
    coarse = parts[:, :, ::4, ::4]
    image = torch.zeros(1, 3, 256, 256)
    assert float(mask_consistency(Fake(image, parts, coarse))) == 0
    other = torch.zeros_like(coarse)
    other[:, 1] = 1
    # Two of thirteen classes differ by 1 in probability, which is 2 on the -1..1 scale.
    assert float(mask_consistency(Fake(image, parts, other))) == pytest.approx(4 * 2 / 13)


def test_path_length_follows_its_mean_and_its_gradient_reaches_the_weights() -> None:
    torch.manual_seed(0)
    nets, path = Networks("tiny"), PathLength(decay=0.5)
    latent = torch.randn(2, contract.LATENT_ROWS, contract.LATENT_WIDTH)
    penalty = path(nets, latent)
    penalty.backward()
    assert float(path.mean) > 0
    assert float(nets.generator.fuse.grad.abs().sum()) > 0


def test_augmentation_moves_image_and_part_map_alike() -> None:
    torch.manual_seed(0)
    config = AugmentationConfig(start=1.0, images=0, colour=0.0)
    parts = torch.zeros(8, 1, 64, 64)
    parts[:, :, 20:40, 10:30] = 1
    image = parts.repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1)
    moved, labels = Augmentation(config)(image, parts)
    assert torch.equal(moved[:, :1, ::2, ::2], labels)
    assert not torch.equal(labels, parts)


def test_augmentation_grows_only_while_the_discriminator_is_too_sure() -> None:
    augmentation = Augmentation(AugmentationConfig(start=0.5, images=100))
    augmentation.follow(torch.ones(10, 3))
    assert augmentation.probability == pytest.approx(0.6)
    augmentation.follow(-torch.ones(10, 3))
    assert augmentation.probability == pytest.approx(0.5)


def test_swapped_identity_keeps_pose_expression_age_and_hair() -> None:
    a, b = torch.zeros(1, 32, 64), torch.ones(1, 32, 64)
    swapped = swap_identity(a, b)[0, :, 0]
    kept = [contract.high_level_row(n) for n in ("pose", "expression", "age")]
    kept += [0, 1, contract.shape_row(7), contract.texture_row(7), contract.shape_row(0)]
    assert swapped[kept].abs().sum() == 0
    assert swapped[contract.high_level_row("identity")] == 1
    assert swapped[contract.shape_row(NOSE)] == 1


def test_mixed_styles_keep_the_coarse_rows_and_never_take_a_shape_without_its_texture() -> None:
    torch.manual_seed(0)
    mixed = mix_styles(torch.zeros(64, 32, 64), torch.ones(64, 32, 64))[:, :, 0]
    assert mixed[:, :2].abs().sum() == 0
    shape, texture = mixed[:, contract.shape_row(NOSE)], mixed[:, contract.texture_row(NOSE)]
    assert bool((texture >= shape).all())
    assert 0 < float(shape.mean()) < float(texture.mean()) < 1


def test_mirroring_changes_the_sign_of_yaw_and_roll_only() -> None:
    batch = blobs()
    batch.attributes["pose"][:] = torch.tensor([1.0, 2.0, 3.0])
    assert mirrored(batch).attributes["pose"][0].tolist() == [-1.0, 2.0, -3.0]


def test_networks_come_back_from_their_folder(tmp_path: Path) -> None:
    trained, fresh = Networks("tiny"), Networks("tiny")
    write_folder(trained, tmp_path)
    load_folder(fresh, tmp_path)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_a_setting_switches_a_loss_off() -> None:
    recipe = overridden(RECIPES["adversarial"], parse_settings(["contrast=0", "mirror=0"]))
    assert recipe.contrast == 0
    assert recipe.mirror is False
    assert recipe.adversarial == RECIPES["adversarial"].adversarial


@pytest.mark.parametrize("text", ["contrast", "contrast=much", "discriminator=1", "colour=1"])
def test_an_unusable_setting_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"\.$"):
        overridden(Recipe(), parse_settings([text]))
