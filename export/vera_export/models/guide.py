"""The guide: what embedder and attribute network say about a picture of the generator.

It is made of the two networks and has no weights of its own. Embedder and attribute network look at
crops of the photograph at their own size and place; both templates are fixed, so for a picture on
the FFHQ template these crops are products with constant matrices, and have a gradient.
"""

import math

import torch
from torch import Tensor, nn

from vera import contract
from vera.pixels import align
from vera_export.models.attributes import Attributes
from vera_export.models.embedder import Embedder
from vera_export.models.layers import mean_pool


class Guide(nn.Module):
    """Picture and what is wanted of it -> ``cosine`` and ``attribute_loss`` of the contract.

    The attribute loss is the mean over the attributes of the Huber loss of their differences in
    units of ``contract.GUIDED``. Where the attribute network looks is taken as given: its gradient
    does not lead through its points, as in its training.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, embedder: Embedder, attributes: Attributes, side: int) -> None:
        """Shares the two networks; ``side`` of the pictures, see :func:`fitting`."""
        super().__init__()
        self.embedder, self.attributes = embedder, attributes
        self.pools = round(math.log2(side / contract.ATTRIBUTES_SIZE))
        rows, columns = arcface_matrices(side)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(
        self,
        image: Tensor,
        embedding: Tensor,
        pose: Tensor,
        expression: Tensor,
        mouth_open: Tensor,
        age: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Inputs of the engine -> cosine [n], attribute loss [n]."""
        found = self.embedder(self.rows @ image @ self.columns.T)
        small = image
        for _ in range(self.pools):
            small = mean_pool(small)
        wanted = (pose, expression, mouth_open, age)
        return (found * embedding).sum(1), attribute_loss(self.attributes(small)[:4], wanted)


def attribute_loss(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
    """Loss [n] of pose, expression, mouth_open and age [n, k] each."""
    terms = []
    for a, b, unit in zip(found, wanted, contract.GUIDED.values(), strict=True):
        terms.append(nn.functional.huber_loss(a / unit, b / unit, reduction="none").mean(1))
    return torch.stack(terms).mean(0)


def fitting(embedder: nn.Module, attributes: nn.Module, side: int) -> bool:
    """Whether a guide can be made: of VerA's own networks, for pictures not below 128 px."""
    own = isinstance(embedder, Embedder) and isinstance(attributes, Attributes)
    return own and side >= contract.ATTRIBUTES_SIZE


def arcface_matrices(side: int) -> tuple[Tensor, Tensor]:
    """Matrices [112, side] over rows and columns that cut the ArcFace crop out of a picture.

    They do what ``align.warp_to_crop`` does: linear interpolation, at two or more samples per
    output pixel where it makes a picture smaller, and their mean. The similarity between the two
    templates turns by less than a hundredth of a degree, which is left out. Values are rounded to
    half precision, as they are stored.
    """
    template = align.Template((align.FFHQ.points + 0.5) * side / contract.CROP_SIZE - 0.5, side)
    matrix = align.crop_matrix(template.points, align.ARCFACE)
    scale = float(matrix[0, 0])
    x, y = (_samples(side, scale, float(shift)) for shift in matrix[:, 2])
    return y, x


def _samples(side: int, scale: float, shift: float) -> Tensor:
    """Matrix [112, side]; output pixel ``i`` is read around input pixel ``(i - shift) / scale``."""
    count = 1 if scale >= 1 else 2 * math.ceil(1 / scale / 2)
    steps = (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5
    places = torch.arange(contract.EMBEDDER_SIZE, dtype=torch.float64)[:, None] + steps
    places = ((places - shift) / scale).clamp(0, side - 1)
    distance = (places[..., None] - torch.arange(side, dtype=torch.float64)).abs()
    return (1 - distance).clamp(min=0).mean(1).half().float()
