"""The generator and its layers."""

import pytest
import torch
from torch.nn import functional

from vera import contract
from vera_export.models.generator import Generator, GeneratorConfig
from vera_export.models.layers import UpConv, Upsample, mean_pool


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    model = Generator(GeneratorConfig.tiny()).eval().requires_grad_(False)
    for layer in model.layers:
        torch.nn.init.normal_(layer.affine_high, std=0.1)
    return model


def _latent(n: int) -> torch.Tensor:
    return torch.randn(
        n, contract.LATENT_ROWS, contract.LATENT_WIDTH, generator=torch.Generator().manual_seed(1)
    )


def test_outputs_have_the_shapes_of_the_contract(generator: Generator) -> None:
    outputs = generator(_latent(2))
    for output, spec in zip(outputs, contract.GENERATOR_FORWARD.outputs, strict=False):
        assert output.shape == (2, *spec.shape[1:])


def test_background_has_pseudo_depth_zero(generator: Generator) -> None:
    assert not generator(_latent(2))[2][:, 0].any()


def test_a_sample_does_not_depend_on_its_batch(generator: Generator) -> None:
    latent = _latent(3)
    for whole, alone in zip(generator(latent), generator(latent[1:2]), strict=True):
        assert torch.allclose(whole[1:2], alone, atol=1e-5)


def test_texture_code_of_a_part_leaves_all_depths_alone(generator: Generator) -> None:
    latent = _latent(1)
    changed = latent.clone()
    changed[:, contract.texture_row(1)] += 1
    before, after = generator(latent), generator(changed)
    assert torch.equal(before[2], after[2])
    assert not torch.allclose(before[0], after[0])


def test_pose_code_moves_parts_but_not_the_background_layers(generator: Generator) -> None:
    latent = _latent(1)
    changed = latent.clone()
    changed[:, contract.high_level_row("pose")] += 1
    assert not torch.allclose(generator(latent)[2], generator(changed)[2])
    assert all(not layer.reach[0].any() for layer in generator.layers)


def test_enlargement_equals_bilinear_interpolation() -> None:
    x = torch.randn(2, 3, 8, 8)
    wanted = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.allclose(Upsample(8)(x), wanted, atol=1e-6)


def test_mean_pool_equals_average_pooling() -> None:
    x = torch.randn(2, 3, 8, 12)
    assert torch.allclose(mean_pool(x), functional.avg_pool2d(x, 2), atol=1e-6)


def test_sub_pixel_convolution_starts_without_checkerboard() -> None:
    torch.manual_seed(0)
    y = UpConv(3, 4)(torch.randn(1, 3, 6, 6))
    assert torch.allclose(y[..., ::2, ::2], y[..., 1::2, 1::2], atol=1e-6)


def test_equalised_phases_show_no_pattern_on_a_constant_input_and_change_least() -> None:
    torch.manual_seed(0)
    layer = UpConv(5, 3)
    torch.nn.init.normal_(layer.conv.weight)
    torch.nn.init.normal_(layer.conv.bias)
    before = layer.conv.weight.clone()
    flat = torch.randn(2, 5, 1, 1).expand(-1, -1, 8, 8)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert float(layer(flat)[inside].std((2, 3)).max().detach()) > 0.1
    layer.equalise()
    assert float(layer(flat)[inside].std((2, 3)).max().detach()) < 1e-5
    change = (layer.conv.weight - before).view(3, 4, 5, 3, 3)
    assert float(change.sum(1).abs().max().detach()) < 1e-5  # the phases' mean stays
    again = layer.conv.weight.clone()
    layer.equalise()
    torch.testing.assert_close(layer.conv.weight, again)
