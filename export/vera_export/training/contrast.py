"""Contrastive training of the high-level codes: identity, expression, pose and age.

VerA learns its high-level controls by contrast, with projection heads on frozen encoders (arXiv
2312.02124); the loss with two margins is GAN-Control's (Shoshan 2021, arXiv 2101.02477). Quadruples
mirror which code is shared: of two values a, a' of one code and two values r, r' of everything else
the faces (a, r), (a, r'), (a', r), (a', r') are made. Faces with the same a must look alike to the
encoder of that attribute whatever r is, and faces with different a must not, even with the same r.

Heads and margins come from photographs of the training set before the generator hears of them: a
head learns to tell pairs that share an attribute from pairs that do not, and the margins are read
from the distances of both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vera import contract
from vera.pixels.align import ARCFACE, FFHQ, crop_matrix
from vera_export.models.attributes import Attributes
from vera_export.models.layers import mean_pool
from vera_export.training.batches import Batch, Batches
from vera_export.training.networks import HIGH, Networks

# How the rows of a quadruple pair off: (a, r), (a, r'), (a', r), (a', r').
_SAME = ((0, 1), (2, 3))
_DIFFERENT = ((0, 2), (1, 3), (0, 3), (1, 2))


@dataclass(frozen=True)
class ContrastConfig:
    """Heads and their calibration.

    Attributes:
        hidden: Width of a head's hidden layer.
        width: Width of its output.
        faces: Training faces that heads and margins are learnt from.
        steps: Steps of the heads.
        batch: Pairs per step.
        nearest: Faces nearest in an attribute among which its partner is drawn.
        temperature: Of the heads' loss.
        same_quantile: Share of the same pairs within the inner margin.
        different_quantile: Share of the different pairs within the outer margin.
    """

    hidden: int = 256
    width: int = 128
    faces: int = 768
    steps: int = 300
    batch: int = 128
    nearest: int = 8
    temperature: float = 0.2
    same_quantile: float = 0.7
    different_quantile: float = 0.5

    @classmethod
    def tiny(cls) -> "ContrastConfig":
        """The smallest sizes, for tests."""
        return cls(hidden=8, width=4, faces=12, steps=4, batch=8, nearest=2)


@dataclass(frozen=True)
class Margins:
    """Squared distances of unit vectors: the same belong below ``inner``, others over ``outer``."""

    inner: float
    outer: float


class Encoders(nn.Module):
    """Frozen networks that see attributes; gradients pass through them to the image.

    The identity recogniser is a teacher: the product's own embedder, which judges the product's
    faces, must not be one that the generator learnt to please. Expression, pose and age are seen by
    the product's attribute network, so that the teachers stay independent measures of them.
    """

    grid: Tensor

    def __init__(self, recogniser: nn.Module, attributes: Attributes) -> None:
        """``recogniser`` maps [n, 3, 112, 112] RGB 0..255 to a list whose first is [n, width]."""
        super().__init__()
        self.recogniser = recogniser.requires_grad_(False)
        self.attributes = attributes.requires_grad_(False).eval()
        self.register_buffer("grid", _arcface_grid(), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Image [n, 3, 256, 256] in [-1, 1] on the FFHQ template -> features by attribute."""
        bounded = image.clamp(-1.2, 1.2)
        grid = self.grid.expand(len(image), -1, -1, -1)
        face = functional.grid_sample(mean_pool(bounded), grid, align_corners=False)
        identity = self.recogniser((face + 1) * 127.5)[0].float()
        _, seen = self.attributes.described(mean_pool(bounded))
        values = self.attributes.heads(seen).float()
        # Expression logits and mouth opening, pose, age: the head's layout in models/attributes.
        count = len(contract.EXPRESSIONS) + 1
        return {
            "identity": functional.normalize(identity, dim=1),
            "expression": torch.cat([values[:, 3 : 3 + count], 0.1 * seen], 1),
            "pose": torch.cat([values[:, :3], 0.1 * seen], 1),
            "age": torch.cat([values[:, 3 + count : 4 + count], 0.1 * seen], 1),
        }


class Contrast(nn.Module):
    """Projection heads, their margins, and the loss of the generator."""

    def __init__(self, encoders: Encoders, config: ContrastConfig | None = None) -> None:
        """Heads at random; :meth:`calibrate` teaches them."""
        super().__init__()
        self.config = cfg = config or ContrastConfig()
        self.encoders = encoders
        with torch.no_grad():
            device = encoders.grid.device
            features = encoders(
                torch.zeros(1, 3, contract.CROP_SIZE, contract.CROP_SIZE).to(device)
            )
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(value.shape[1], cfg.hidden),
                    nn.LeakyReLU(0.2),
                    nn.Linear(cfg.hidden, cfg.width),
                )
                for name, value in features.items()
            }
        ).to(device)
        self.margins: dict[str, Margins] = {}

    def calibrate(self, batches: Batches, seed: int) -> dict[str, Margins]:
        """Teaches the heads on training faces and reads the margins; deterministic.

        A face's partner for identity is its mirror image, and everybody else is different. For the
        other attributes it is a person near it in what was measured, and different are those
        farther off than the median.
        """
        cfg = self.config
        draw = torch.Generator().manual_seed(seed)
        rows = torch.from_numpy(batches.faces.train)
        rows = rows[torch.randperm(len(rows), generator=draw)[: cfg.faces]]
        plain, turned, measured = self._features(batches, rows)
        for name in contract.HIGH_LEVEL:
            pairs = _Pairs(plain[name], turned[name], measured[name], cfg, name == "identity")
            head = self.heads[name].requires_grad_(True)
            optimiser = torch.optim.Adam(head.parameters(), 1e-3)
            for _ in range(cfg.steps):
                left, right, far = pairs.draw(draw)
                loss = _matching_loss(head(left), head(right), far, cfg.temperature)
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward([loss])
                optimiser.step()
            head.requires_grad_(False)
            self.margins[name] = self._margin(name, *pairs.draw(draw))
        return self.margins

    def loss(self, images: Tensor, names: list[str]) -> Tensor:
        """Loss of quadruples: images [4 q, 3, 256, 256], q names of their attributes."""
        with torch.autocast(images.device.type, torch.bfloat16):
            features = self.encoders(images)
        total = torch.zeros((), device=images.device)
        for i, name in enumerate(names):
            margin = self.margins[name]
            seen = self.project(name, features[name].float()[4 * i : 4 * i + 4])
            same = torch.stack([(seen[a] - seen[b]).square().sum() for a, b in _SAME])
            other = torch.stack([(seen[a] - seen[b]).square().sum() for a, b in _DIFFERENT])
            total = total + functional.relu(same - margin.inner).mean()
            total = total + functional.relu(margin.outer - other).mean()
        return total / len(names)

    def project(self, name: str, features: Tensor) -> Tensor:
        """Features of an attribute -> unit vectors [n, width]."""
        return functional.normalize(self.heads[name](features), dim=1)

    @torch.no_grad()
    def _features(
        self, batches: Batches, rows: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        plain: dict[str, list[Tensor]] = {name: [] for name in contract.HIGH_LEVEL}
        turned: dict[str, list[Tensor]] = {name: [] for name in contract.HIGH_LEVEL}
        for pick in rows.split(32):
            crop = batches.rows(pick).crop
            for out, image in ((plain, crop), (turned, crop.flip(3))):
                with torch.autocast(image.device.type, torch.bfloat16):
                    seen = self.encoders(image)
                for name, value in seen.items():
                    out[name].append(value.float())
        measured = batches.rows(rows).attributes
        return (
            {name: torch.cat(values) for name, values in plain.items()},
            {name: torch.cat(values) for name, values in turned.items()},
            measured,
        )

    @torch.no_grad()
    def _margin(self, name: str, left: Tensor, right: Tensor, far: Tensor) -> Margins:
        cfg = self.config
        distance = torch.cdist(self.project(name, left), self.project(name, right)).square()
        inner = float(distance.diagonal().quantile(cfg.same_quantile))
        outer = float(distance[far].quantile(cfg.different_quantile)) if bool(far.any()) else inner
        return Margins(inner, max(inner, outer))


class _Pairs:
    """Draws faces and partners that share an attribute, and says who among them differs in it."""

    def __init__(
        self,
        plain: Tensor,
        turned: Tensor,
        measured: Tensor,
        config: ContrastConfig,
        mirrored: bool,
    ) -> None:
        self.plain, self.turned, self.config, self.mirrored = plain, turned, config, mirrored
        self.distance = differences(measured)
        near = self.distance.clone().fill_diagonal_(float("inf"))
        count = min(config.nearest, len(plain) - 1)
        self.partners = near.topk(count, largest=False).indices
        self.median = 0.0 if mirrored else float(self.distance.median())

    def draw(self, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features [m, c] of faces and of their partners; bool [m, m], True: different."""
        pick = torch.randperm(len(self.plain), generator=random)[: self.config.batch]
        pick = pick.to(self.plain.device)
        far = self.distance[pick][:, pick] > self.median
        if self.mirrored:
            return self.plain[pick], self.turned[pick], far.fill_diagonal_(False)
        column = torch.randint(self.partners.shape[1], (len(pick),), generator=random)
        partner = self.partners[pick, column.to(pick.device)]
        far = self.distance[pick][:, partner] > self.median
        return self.plain[pick], self.plain[partner], far.fill_diagonal_(False)


def differences(measured: Tensor) -> Tensor:
    """Distances [n, n] of measured attributes [n, w], each in its standard deviations."""
    spread = measured.std(0, keepdim=True).clamp(min=1e-6)
    return torch.cdist(measured / spread, measured / spread)


def quadruples(
    nets: Networks, batch: Batch, names: list[str], *, mirror: bool = True
) -> tuple[Tensor, Tensor]:
    """Latents of quadruples, and images made of them.

    Args:
        nets: Encoder, mapping and generator.
        batch: People who give the codes, at least four.
        names: Which high-level code each quadruple is about.
        mirror: Whether quadruples are mirrored, each by chance: who is alike stays so.

    Returns:
        Latents [4 q, 32, 64] and images [4 q, 3, 256, 256] in [-1, 1].
    """
    with torch.autocast(batch.crop.device.type, torch.bfloat16):
        with torch.no_grad():
            semantic = nets.encoder(batch.crop, batch.onehot)[:, :-HIGH]
        high = nets.mapping(batch.attributes)
        rows = []
        for i, name in enumerate(names):
            r, other, a = ((3 * i + j) % len(semantic) for j in range(3))
            b = differences(batch.attributes[name])[a].argmax()  # as different as can be
            column = contract.HIGH_LEVEL.index(name)
            for value in (a, b):
                for rest in (r, other):
                    codes = [high[rest, j] for j in range(HIGH)]
                    codes[column] = high[value, column]
                    rows.append(torch.cat([semantic[rest], torch.stack(codes)]))
        latent = torch.stack(rows)
        image = nets.generator(latent)[0].float()
    if mirror:
        turned = (torch.rand(len(names), device=image.device) < 0.5).repeat_interleave(4)
        image = torch.where(turned[:, None, None, None], image.flip(3), image)
    return latent.float(), image


def _matching_loss(left: Tensor, right: Tensor, far: Tensor, temperature: float) -> Tensor:
    """Each face must pick its partner from those that differ, both ways (InfoNCE, SimCLR)."""
    a, b = functional.normalize(left, dim=1), functional.normalize(right, dim=1)
    unjudged = ~far.clone().fill_diagonal_(True)
    logits = (a @ b.T / temperature).masked_fill(unjudged, float("-inf"))
    target = torch.arange(len(a), device=a.device)
    return functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)


def _arcface_grid() -> Tensor:
    """Sampling grid [1, 112, 112, 2] from the FFHQ crop at 128 px to ArcFace's crop."""
    half = (FFHQ.points + 0.5) / 2 - 0.5
    matrix = torch.from_numpy(crop_matrix(half, ARCFACE))
    inverse = torch.linalg.inv(matrix[:, :2])
    line = torch.arange(ARCFACE.size, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    source = (torch.stack([x, y], -1) - matrix[:, 2]) @ inverse.T
    side = contract.CROP_SIZE // 2
    grid: Tensor = ((source + 0.5) / side * 2 - 1).float()[None]
    return grid
