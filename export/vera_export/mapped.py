"""A bank of identities without training images: samples of a generator's own mapping network."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera.errors import UsageError
from vera.face.faces import skin_colour
from vera.pixels.align import ARCFACE, crop_matrix, to_image, to_tensor, warp_to_crop
from vera_export.models.public_generator import PublicGenerator
from vera_export.registry import load_network

Float = npt.NDArray[np.float32]

_MEAN_OF = 10_000  # samples, as in SemanticStyleGAN's inversion
_TRUNCATION = 0.7  # of its samples towards the mean
_YAW_LIMIT = 25.0  # degrees: a donor seen from the side has no far cheek to give
_YOUNGEST = 22.0  # years; the estimates err: stay clear of minors
_TRIES = 4  # samples per person, at most


@torch.no_grad()
def build_mapped_identities(
    weights: Path, out: Path, count: int, *, seed: int = 0, mean_of: int = _MEAN_OF
) -> dict[str, int]:
    """Draws synthetic people from a converted generator and writes ``identities.npz``.

    Args:
        weights: Folder with a converted generator, an attributes network and an embedder.
        out: File to write, as ``identities.build_identities`` writes it; mean and std are those of
            ``mean_of`` mapped samples, where the inversion starts.
        count: How many people, at least 2.
        seed: Of the samples.
        mean_of: Samples of the mean.

    Returns:
        How many people the bank holds, and how many samples that took.

    Raises:
        UsageError: The generator has no mapping network, or too few samples fit.
    """
    if count < 2:
        raise UsageError(f"A bank needs at least 2 people, got {count}; ask for 128 or more.")
    generator = load_network(weights, "generator").requires_grad_(False)
    if not isinstance(generator, PublicGenerator):
        raise UsageError(
            "This generator has no mapping network to draw people from; give --data, the training "
            "faces, instead."
        )
    attributes, embedder = (load_network(weights, name) for name in ("attributes", "embedder"))
    random = torch.Generator().manual_seed(seed)
    width = generator.config.latent_width
    w = generator.mapping(torch.randn(mean_of, width, generator=random))
    mean, std = w.mean(0), w.std(0)
    people: list[dict[str, Any]] = []
    tries = 0
    while len(people) < count and tries < _TRIES * count:
        tries += 1
        sample = generator.mapping(torch.randn(1, width, generator=random))
        latent = generator.latents(mean + _TRUNCATION * (sample - mean))
        person = _described(generator, attributes, embedder, latent)
        if abs(person["yaw"]) < _YAW_LIMIT and person["age"] >= _YOUNGEST:
            people.append(person)
    if len(people) < count:
        raise UsageError(
            f"Only {len(people)} of {tries} samples show a grown person from the front, {count} "
            "are wanted; ask for fewer, or look at the generator's pictures."
        )
    _write(out, people, generator.latents(mean[None])[0], generator.latents(std[None])[0])
    return {"people": len(people), "samples": tries}


def _described(
    generator: PublicGenerator, attributes: nn.Module, embedder: nn.Module, latent: Tensor
) -> dict[str, Any]:
    """One row of the bank."""
    image, segmentation, _ = generator(latent)
    pixels = to_image(image.numpy())
    factor = image.shape[-1] / contract.ATTRIBUTES_SIZE
    small = functional.interpolate(
        image.clamp(-1, 1), contract.ATTRIBUTES_SIZE, mode="bilinear", antialias=True
    )
    pose, _, _, age, female, points = attributes(small)
    five = (points[0].double().numpy() + 0.5) * factor - 0.5
    face = warp_to_crop(pixels, crop_matrix(five, ARCFACE), ARCFACE.size)
    embedding = embedder(torch.from_numpy(to_tensor(face)))[0]
    labels = segmentation[0].argmax(0).numpy().astype(np.uint8)
    return {
        "codes": latent[0].numpy().astype(np.float16),
        "skin": skin_colour(pixels, labels),
        "female": float(female[0, 0]),
        "age": float(age[0, 0]),
        "yaw": float(pose[0, 0]),
        "embedding": embedding.numpy().astype(np.float16),
    }


def _write(out: Path, people: list[dict[str, Any]], mean: Tensor, std: Tensor) -> None:
    columns: dict[str, Any] = {
        key: np.stack([np.asarray(person[key]) for person in people]) for key in people[0]
    }
    for key in ("skin", "female", "age", "yaw"):
        columns[key] = columns[key].astype(np.float32)
    temporary = out.with_name(f".{out.name}.part.npz")
    np.savez_compressed(temporary, **columns, mean=mean.numpy(), std=std.numpy())
    temporary.replace(out)
