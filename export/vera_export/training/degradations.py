"""What the refiner learns to mend: real crops with the generator's picture of them pasted in.

Each composite is made by the code that makes the product's (``fit_face``, ``blend_crop``), from the
generator's own reconstruction of the crop, so that blur, seam, lost ears and filled gaps are those
that occur. The generated picture is bent, tinted, dotted and blurred first, because another person
never fits as well as a reconstruction.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera.errors import UsageError
from vera.pixels.align import crop_matrix, to_image, to_tensor, warp_to_crop
from vera.pixels.labels import probabilities, to_labels
from vera.rendering.fit import fit_face
from vera.rendering.refine import blend_crop
from vera.rendering.strands import find_strands
from vera.request.keep import REGIONS
from vera_export.training import augment

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

# How often each region is kept while training; the rest of the time none is.
_KEPT_CHANCES = {"mouth": 0.35, "eyes": 0.15, "nose": 0.1, "brows": 0.1}
_DARKENED = tuple(contract.CLASSES.index(name) for name in ("eye", "brow"))
_MARGIN = np.ones((5, 5), np.uint8)  # the kept region is a little wider than its class


@dataclass(frozen=True, eq=False)
class Composite:
    """What the refiner gets, and what it should give.

    Attributes:
        image: uint8 [256, 256, 3], the composed crop.
        mask: float32 [256, 256], 1 where it is generated, else 0.
        target: uint8 [k 256, k 256, 3], the real crop; k is 1 or 2.
    """

    image: Bytes
    mask: Float
    target: Bytes


class Compositor:
    """Pastes the generator's picture of a crop into the crop."""

    def __init__(self, generator: nn.Module, encoder: nn.Module) -> None:
        """Both networks trained; they are only run."""
        self._generator, self._encoder = generator.eval(), encoder.eval()

    def __call__(self, target: Bytes, labels: Bytes, draw: augment.Draw) -> Composite:
        """Makes one composite.

        Args:
            target: uint8 [256, 256, 3] or [512, 512, 3], a real crop.
            labels: uint8 [256, 256], its part map.
            draw: Random numbers.

        Raises:
            RefusedError: The part map shows no face to replace.
        """
        side = contract.CROP_SIZE
        crop = target
        if target.shape[0] != side:
            crop = np.asarray(cv2.resize(target, (side, side), interpolation=cv2.INTER_AREA))
        generated, parts = self._picture(crop, labels, draw)
        generated, parts = spoil(generated, parts, draw)
        chosen = draw.choice([*_KEPT_CHANCES, "none"], p=[*_KEPT_CHANCES.values(), 0.3])
        classes = REGIONS.get(str(chosen), ())
        kept = cv2.dilate(np.isin(labels, classes).astype(np.uint8), _MARGIN).astype(np.bool_)
        strands = find_strands(crop, labels) if draw.random() < 0.7 else None
        if draw.random() < 0.3:
            crop = augment.degrade(crop, draw, 0.3)  # only the surroundings come from this copy
        face, mask = fit_face(generated, parts, crop, labels, classes)
        return Composite(*blend_crop(face, mask, crop, kept, strands), target)

    @torch.no_grad()
    def _picture(self, crop: Bytes, labels: Bytes, draw: augment.Draw) -> tuple[Bytes, Bytes]:
        """Reconstruction and its part map, from codes that are a little wrong at times."""
        with torch.autocast("cpu", torch.bfloat16):
            onehot = functional.one_hot(
                torch.from_numpy(labels[::2, ::2].astype(np.int64)), contract.CLASS_COUNT
            )
            latent = self._encoder(
                torch.from_numpy(to_tensor(crop)), onehot.permute(2, 0, 1)[None].float()
            )
            noise = draw.standard_normal(latent.shape, np.float32) * np.float32(
                draw.choice([0, 0.1])
            )
            image, segmentation, _ = self._generator(latent + torch.from_numpy(noise))
        return to_image(image.float().numpy()), to_labels(
            probabilities(segmentation.float().numpy())
        )


def spoil(image: Bytes, labels: Bytes, draw: augment.Draw) -> tuple[Bytes, Bytes]:
    """Errors that a reconstruction lacks: another outline, tone, dark brows, dots, blur."""
    image, labels = _bent(image, labels, draw)
    x = image.astype(np.float32)
    x *= np.exp(draw.normal(0, 0.06, 3)).astype(np.float32)
    x *= np.exp(augment.smooth_field(draw, image.shape[0], 3) * draw.uniform(0, 0.08))[..., None]
    if draw.random() < 0.5:
        dark = np.isin(labels, _DARKENED).astype(np.float32)
        x *= 1 - cv2.GaussianBlur(dark, (0, 0), 1.5)[..., None] * np.float32(draw.uniform(0, 0.4))
    if draw.random() < 0.5:
        x += dots(image.shape[0], draw)[..., None]
    spoilt = augment.to_bytes(x)
    if draw.random() < 0.4:
        spoilt = np.asarray(cv2.GaussianBlur(spoilt, (0, 0), draw.uniform(0.4, 1.1)), np.uint8)
    return spoilt, labels


def dots(side: int, draw: augment.Draw) -> Float:
    """The regular pattern [side, side] that sub-pixel convolutions leave, of up to 4 grey levels.

    Its period is 2 or 4 px; its strength changes over the image.
    """
    period = int(draw.choice([2, 4]))
    tile = draw.standard_normal((period, period)).astype(np.float32)
    pattern = np.tile(tile - tile.mean(), (side // period, side // period))
    strength = np.clip(augment.smooth_field(draw, side, 4) + 1, 0, 2) * draw.uniform(0.3, 2)
    return np.asarray(pattern * strength, np.float32)


def _bent(image: Bytes, labels: Bytes, draw: augment.Draw) -> tuple[Bytes, Bytes]:
    """Both through one smooth displacement: eyes, nose and mouth by a pixel, the outline by more.

    The outline mostly shrinks, so that gaps between the new and the old one are filled as they are
    in the product.
    """
    side = image.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    ray = np.stack([x - side / 2, y - side * 0.53])
    reach = np.sqrt((ray[0] / 60) ** 2 + (ray[1] / 78) ** 2)  # 1 at about the outline of a face
    inward = draw.uniform(-2, 6) + draw.uniform(0, 3) * augment.smooth_field(draw, side, 3)
    inward = inward * np.clip((reach - 0.55) / 0.35, 0, 1)
    spread = np.float32(draw.uniform(0, 1.5))
    cells = int(draw.integers(2, 8))
    x, y = (
        (v + spread * augment.smooth_field(draw, side, cells) + along * inward / 60).astype(
            np.float32
        )
        for v, along in ((x, ray[0]), (y, ray[1]))
    )
    edge = cv2.BORDER_REFLECT_101
    return (
        np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=edge), np.uint8),
        np.asarray(cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=edge), np.uint8),
    )


@dataclass(frozen=True, eq=False)
class Crops:
    """Real crops and their part maps, one per row.

    Attributes:
        images: uint8 [n, k 256, k 256, 3].
        labels: uint8 [n, 256, 256].
    """

    images: Bytes
    labels: Bytes

    def pick(self, row: int, draw: augment.Draw) -> tuple[Bytes, Bytes]:
        """One of them, mirrored half of the time, its light and colour varied."""
        image, labels = self.images[row], self.labels[row]
        if draw.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        if draw.random() < 0.6:
            image = augment.light_and_colour(np.ascontiguousarray(image), draw, 0.5)
        return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def read_portraits(folder: Path, parser: nn.Module) -> tuple[Crops, Crops]:
    """Aligned 512 px crops of the portraits: for training those at even places, the others after.

    Args:
        folder: Holds ``landmarks.json`` (per file five ``points``) and the files.
        parser: Labels the crops.

    Returns:
        Portraits at even places of the sorted order, for training, and those at odd places.

    Raises:
        UsageError: The folder lacks a file, or one cannot be decoded.
    """
    index = folder / "landmarks.json"
    if not index.is_file():
        raise UsageError(f"There is no {index.name} beside the data; the refiner needs portraits.")
    images: list[Bytes] = []
    smaller: list[Bytes] = []
    for name, entry in sorted(json.loads(index.read_text()).items()):
        photo = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        if photo is None:
            raise UsageError(f"{name} of the portraits cannot be decoded; copy it again.")
        image: Bytes = np.ascontiguousarray(photo[:, :, ::-1], np.uint8)
        for size, found in ((2 * contract.CROP_SIZE, images), (contract.CROP_SIZE, smaller)):
            found.append(warp_to_crop(image, crop_matrix(entry["points"], size=size), size))
    labels = [_labels(parser, crop) for crop in smaller]
    every = Crops(np.stack(images), np.stack(labels))
    return tuple(Crops(every.images[k::2], every.labels[k::2]) for k in (0, 1))  # type: ignore[return-value]


@torch.no_grad()
def _labels(parser: nn.Module, crop: Bytes) -> Bytes:
    logits: Tensor = parser(torch.from_numpy(to_tensor(crop)))
    return to_labels(probabilities(logits.numpy()))
