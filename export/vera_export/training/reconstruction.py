"""Losses of the first stage: encoder and generator learn to reproduce the training faces."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera_export.models.layers import mean_pool
from vera_export.models.mapping import HighLevelMapping
from vera_export.training.batches import Batch

# Small parts carry the face: their pixels count more (skin 1, eyes, brows, mouth, nose up to 4).
_PIXEL_WEIGHT = torch.tensor([0.5, 1.0, 4.0, 2.5, 3.0, 2.0, 1.5, 0.8, 1.0, 0.6, 2.0, 0.8, 2.0])
# About the inverse square root of each class's share of the pixels, capped.
_CLASS_WEIGHT = torch.tensor([0.5, 0.6, 3.0, 2.5, 2.0, 1.8, 2.0, 0.6, 1.2, 1.5, 3.0, 1.5, 3.0])


def pixel_loss(image: Tensor, batch: Batch) -> Tensor:
    """L1 at full size, weighted by part."""
    weight = _PIXEL_WEIGHT.to(image.device)[batch.labels][:, None]
    weight = functional.interpolate(weight, scale_factor=2, mode="nearest")
    return ((image - batch.crop).abs() * weight).mean() / weight.mean()


def perceptual_loss(teacher: nn.Module, image: Tensor, crop: Tensor) -> Tensor:
    """Distance of unit features, on the face at half size and on a window at full size."""
    y, x = (int(v) for v in torch.randint(48, 97, (2,)))
    views = [(mean_pool(image), mean_pool(crop))]
    window = (slice(None), slice(None), slice(y, y + 112), slice(x - 24, x + 88))
    views.append((image[window], crop[window]))
    distances = [feature_distance(teacher, ours, theirs) for ours, theirs in views]
    return torch.stack(distances).mean()


def feature_distance(teacher: nn.Module, ours: Tensor, theirs: Tensor) -> Tensor:
    """Squared distance of unit feature vectors, summed over the teacher's maps.

    Args:
        teacher: Takes RGB in 0..255.
        ours: [n, 3, h, w] in about [-1, 1]; the gradient reaches it.
        theirs: The same shape; without gradient.
    """
    a = teacher(teacher_input(ours))
    with torch.no_grad():
        b = teacher(teacher_input(theirs))
    maps = [
        (_unit(p.float()) - _unit(q.float())).square().sum(1).mean()
        for p, q in zip(a, b, strict=True)
    ]
    return torch.stack(maps).sum()


def part_loss(segmentation: Tensor, depth: Tensor, labels: Tensor) -> Tensor:
    """Class-weighted cross-entropy of the fine part map and of the enlarged coarse masks."""
    weight = _CLASS_WEIGHT.to(labels.device)
    fine = functional.cross_entropy(segmentation, labels, weight)
    coarse = functional.interpolate(depth, scale_factor=4, mode="bilinear")
    return fine + functional.cross_entropy(coarse, labels, weight)


def attribute_loss(mapping: HighLevelMapping, high: Tensor, mapped: Tensor, batch: Batch) -> Tensor:
    """High-level rows of encoder and mapping agree, and both say what was measured."""
    loss = (high - mapped).square().mean()
    for rows in (high, mapped):
        read = mapping.read(rows)
        for name in contract.HIGH_LEVEL:
            loss = loss + (read[name] - batch.attributes[name]).square().mean()
    return loss


def teacher_input(image: Tensor) -> Tensor:
    """Images [n, 3, h, w] in about [-1, 1] as the perceptual teacher takes them: RGB 0..255."""
    return ((image.clamp(-1.2, 1.2) + 1) * 127.5).contiguous(memory_format=torch.channels_last)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt()
