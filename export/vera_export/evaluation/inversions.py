"""Inversion error: how well a photograph comes out of the runtime's inversion again."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from vera import contract
from vera.bundle import Bundle
from vera.engines import Engines, Tensor
from vera.face.faces import AlignedFace
from vera.identity.inversion import InversionConfig, invert
from vera.identity.target import inside_photo
from vera.pixels.align import to_tensor
from vera_export.evaluation.agreement import Agreement
from vera_export.models.perceptual import distance

Labels = npt.NDArray[np.uint8]


@dataclass
class _Sum:
    """Errors of one kind of latents, collected over faces."""

    perceptual: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    parts: Agreement = field(default_factory=Agreement)

    def figures(self) -> dict[str, float]:
        """Means, and the mean IoU of the part map."""
        return {
            "perceptual": float(np.mean(self.perceptual)),
            "psnr_db": float(np.mean(self.psnr)),
            "miou": self.parts.figures()["mean"],
        }


class InversionErrors:
    """Collects the errors of faces: at the encoder's latents, and after the inversion.

    Perceptual: LPIPS' formula on VerA's own features, whole crop. PSNR: of the crop, where it shows
    the photograph. mIoU: the generator's part map against the given labels.
    """

    def __init__(
        self, engines: Engines, bundle: Bundle, config: InversionConfig | None = None
    ) -> None:
        """Starts without faces; ``config`` None is what the product does."""
        self._engines, self._bundle = engines, bundle
        self._config = config or InversionConfig()
        self._sums = {"encoder": _Sum(), "inverted": _Sum()}
        self._steps: list[int] = []

    def add(self, face: AlignedFace, size: tuple[int, ...], labels: Labels) -> None:
        """Inverts a face.

        Args:
            face: Aligned, in a photograph.
            size: Height and width of that photograph.
            labels: uint8 [256, 256], what the part map of ``face.crop`` should be.
        """
        for name, steps in (("encoder", 0), ("inverted", self._config.steps)):
            config = replace(self._config, steps=steps)
            found = invert([face], [size], self._engines, self._bundle, config, lambda _: None)
            self._compare(self._sums[name], found.latents, face, size, labels)
        self._steps.append(len(found.losses) - 1)

    def figures(self) -> dict[str, object] | None:
        """Means over the faces, or None without any."""
        if not self._steps:
            return None
        by_kind = {name: total.figures() for name, total in self._sums.items()}
        return {"faces": len(self._steps), "mean_steps": float(np.mean(self._steps)), **by_kind}

    def _compare(
        self,
        total: _Sum,
        latents: Tensor,
        face: AlignedFace,
        size: tuple[int, ...],
        labels: Labels,
    ) -> None:
        outputs = self._engines.run("generator", latent=latents)
        image, wanted = outputs["image"].clip(-1, 1), to_tensor(face.crop)
        inside = inside_photo(face.matrix, contract.CROP_SIZE, size) > 0
        error = float(np.square((image - wanted)[0][:, inside] / 2).mean())
        total.psnr.append(-10 * float(np.log10(max(error, 1e-10))))
        ours, theirs = (self._features(x) for x in (image, wanted))
        weights = [torch.from_numpy(w) for w in self._bundle.feature_weights]
        total.perceptual.append(float(distance(ours, theirs, weights)[0]))
        total.parts.add(outputs["segmentation"][0].argmax(0), labels[::2, ::2])

    def _features(self, image: Tensor) -> list[torch.Tensor]:
        maps = self._engines.run("perceptual", crop=np.ascontiguousarray(image))
        return [torch.from_numpy(maps[t.name]) for t in contract.PERCEPTUAL.outputs]
