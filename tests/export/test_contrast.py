"""The contrast tells attributes apart, with stand-ins for the frozen encoders."""

import torch
from torch import Tensor, nn

from vera import contract
from vera_export.models.attributes import Attributes, AttributesConfig
from vera_export.models.mapping import ATTRIBUTE_WIDTHS
from vera_export.training.batches import Batch
from vera_export.training.contrast import Contrast, ContrastConfig, Encoders, Margins, quadruples
from vera_export.training.networks import Networks


class Recogniser(nn.Module):
    """Sees the mean colour of the face."""

    def forward(self, face: Tensor) -> list[Tensor]:
        return [face.mean((2, 3)) / 127.5 - 1]


class Faces:
    """Stands in for ``Faces``: the rows of the training split."""

    def __init__(self, count: int) -> None:
        import numpy as np

        self.train = np.arange(count)


class MadeBatches:
    """Stands in for ``Batches``: plain coloured crops, attributes that say the colour."""

    def __init__(self, count: int) -> None:
        torch.manual_seed(0)
        self.faces = Faces(count)
        self.colour = torch.rand(count, 3) * 2 - 1

    def rows(self, pick: Tensor) -> Batch:
        crop = self.colour[pick][:, :, None, None].expand(-1, -1, 256, 256)
        told = {k: self.colour[pick][:, :1].expand(-1, w) for k, w in ATTRIBUTE_WIDTHS.items()}
        return Batch(crop, torch.ones(len(pick), 128, 128, dtype=torch.long), told)


def contrast() -> Contrast:
    torch.manual_seed(0)
    return Contrast(
        Encoders(Recogniser(), Attributes(AttributesConfig.tiny())), ContrastConfig.tiny()
    )


def test_calibration_gives_ordered_margins_for_every_code_and_is_repeatable() -> None:
    first = contrast().calibrate(MadeBatches(12), 3)
    assert set(first) == set(contract.HIGH_LEVEL)
    assert all(0 <= m.inner <= m.outer <= 4 for m in first.values())
    assert contrast().calibrate(MadeBatches(12), 3) == first


def test_a_quadruple_shares_one_code_in_rows_and_everything_else_in_columns() -> None:
    torch.manual_seed(0)
    nets = Networks("tiny")
    latent, images = quadruples(nets, MadeBatches(4).rows(torch.arange(4)), ["pose"], mirror=False)
    pose = contract.high_level_row("pose")
    rest = [row for row in range(contract.LATENT_ROWS) if row != pose]
    assert images.shape == (4, 3, 256, 256)
    assert torch.equal(latent[0, pose], latent[1, pose])
    assert torch.equal(latent[2, pose], latent[3, pose])
    assert not torch.equal(latent[0, pose], latent[2, pose])
    assert torch.equal(latent[0, rest], latent[2, rest])
    assert torch.equal(latent[1, rest], latent[3, rest])
    assert not torch.equal(latent[0, rest], latent[1, rest])


def test_a_quadruple_within_its_margins_costs_nothing_and_another_order_does() -> None:
    judge = contrast()
    judge.calibrate(MadeBatches(12), 0)
    red, blue = torch.zeros(3, 256, 256), torch.zeros(3, 256, 256)
    red[0], blue[2] = 0.9, 0.9
    good, bad = torch.stack([red, red, blue, blue]), torch.stack([red, blue, red, blue])
    seen = judge.project("identity", judge.encoders(good)["identity"].float())
    between = float((seen[0] - seen[2]).square().sum())
    judge.margins["identity"] = Margins(between * 0.1, between * 0.9)
    assert float(judge.loss(good, ["identity"])) < 0.05 * between
    assert float(judge.loss(bad, ["identity"])) > 0.5 * between


def test_the_gradient_reaches_generator_and_mapping_but_no_encoder_and_no_head() -> None:
    torch.manual_seed(0)
    nets, judge = Networks("tiny"), contrast()
    judge.calibrate(MadeBatches(12), 0)
    judge.margins = {name: Margins(0.0, 4.0) for name in contract.HIGH_LEVEL}
    names = list(contract.HIGH_LEVEL)
    with torch.no_grad():
        for layer in nets.generator.layers:
            layer.affine_high.normal_(std=0.1)
    _, images = quadruples(nets, MadeBatches(4).rows(torch.arange(4)), names)
    judge.loss(images, names).backward()
    assert float(nets.generator.fuse.grad.abs().sum()) > 0
    assert float(nets.mapping.maps["pose"][0].weight.grad.abs().sum()) > 0
    assert all(p.grad is None for p in judge.encoders.parameters())
    assert all(not p.requires_grad for p in judge.heads.parameters())


def test_the_recogniser_gets_the_face_where_its_template_has_it() -> None:
    judge = contrast()
    image = torch.full((1, 3, 256, 256), -1.0)
    image[:, :, 110:130, 87:107] = 1.0  # around the image-left eye of the FFHQ template
    grid = judge.encoders.grid
    half = image.reshape(1, 3, 128, 2, 128, 2).mean((3, 5))
    face = torch.nn.functional.grid_sample(half, grid, align_corners=False)[0, 0]
    y, x = ((face > 0).nonzero().float().mean(0)).tolist()
    assert abs(x - 38.3) < 2  # the image-left eye of ArcFace's template
    assert abs(y - 51.7) < 2
