"""What a user holds: photographs of a case in, anonymised images and reports out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle, load_bundle
from vera.case import Case, Faces, new_seed, open_case
from vera.engines import OnnxEngines
from vera.photo import PIXEL_LIMIT
from vera.pipeline import anonymize_case
from vera.report import PhotoReport

Progress = Callable[[str, float], None]
PhotoLike = Path | str | npt.NDArray[np.uint8]
KeepLike = str | Path | npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One photograph of a case, done.

    Attributes:
        image: uint8 [h, w, 3] RGB of the photograph's own size, or None if the photograph was
            refused.
        report: What was done and how it was checked.
    """

    image: npt.NDArray[np.uint8] | None
    report: PhotoReport


class Anonymizer:
    """Replaces the faces of clinical photographs by synthetic ones.

    Not thread-safe: use one instance per thread.
    """

    def __init__(
        self,
        bundle: Path | None = None,
        *,
        threads: int | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        """Opens a bundle; engines are loaded when they are first used.

        Args:
            bundle: Folder of a bundle; None takes the one inside the package.
            threads: Threads of each engine; None takes all cores of this process.
            device: ``"cuda"`` needs an ONNX Runtime with CUDA.

        Raises:
            BundleError: The bundle is missing, damaged or of another contract.
            EngineError: The device is not available.
            UsageError: ``threads`` or ``device`` makes no sense.
        """
        self.bundle: Bundle = load_bundle(bundle)
        self._engines = OnnxEngines(self.bundle, threads=threads, device=device)

    def anonymize(
        self,
        photos: Sequence[PhotoLike],
        *,
        keep: KeepLike | Sequence[KeepLike] = "none",
        seed: int | None = None,
        faces: Faces = "all",
        steps: int | None = None,
        pixel_limit: int = PIXEL_LIMIT,
        progress: Progress | None = None,
    ) -> list[Result]:
        """Anonymises one case: photographs of one person, who gets one new identity in all of them.

        Args:
            photos: Files, or images uint8 [h, w, 3] RGB. The largest face of each is the person.
            keep: What stays as photographed: ``"none"``, ``"mouth"``, ``"eyes,brows"``, a mask file
                (Path, or the text of an existing path) or a bool mask [h, w] of the photo's size.
                One value for all photographs, or a list with one for each.
            seed: Seed of all draws, 0 to 2^63 - 1; None takes a new random one. It is in the
                report.
            faces: ``"all"`` replaces bystanders too (each by a person of their own), ``"largest"``
                leaves them as they are.
            steps: Upper limit of gradient steps of the inversion; None takes the tuned default.
            pixel_limit: Largest number of pixels of a photograph.
            progress: Called with the name of the stage and the done fraction in [0, 1], never
                decreasing.

        Returns:
            One result per photograph, in order. A photograph that cannot be read or must not be
            written is a refused result without an image.

        Raises:
            UsageError: The request makes no sense.
            EngineError: An engine failed.
        """
        case: Case = open_case(
            photos,
            keep=keep,
            seed=new_seed() if seed is None else seed,
            faces=faces,
            steps=steps,
            pixel_limit=pixel_limit,
        )
        outcomes = anonymize_case(case, self._engines, self.bundle, progress or _silent)
        return [Result(image, report) for image, report in outcomes]


def _silent(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""
