"""What a user holds: photographs of a case in, anonymised images and reports out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle, load_bundle
from vera.case.case import KeepLike, open_case
from vera.case.pipeline import anonymize_case
from vera.engines import OnnxEngines
from vera.files.photo import PIXEL_LIMIT
from vera.judge import Judge
from vera.key import CaseKey
from vera.report import PhotoReport
from vera.settings import PRESERVABLE, Background, Faces, Frame, Hair, Method, Settings

Progress = Callable[[str, float], None]
PhotoLike = Path | str | npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One photograph of a case, done.

    Attributes:
        image: uint8 [h, w, 3] RGB of the photograph's own size, or None if the photograph was
            refused.
        report: What was done and how it was checked.
        person: float32 [e], embedding of the new synthetic person in a neutral view; nothing of the
            patient is in it. None if refused.
    """

    image: npt.NDArray[np.uint8] | None
    report: PhotoReport
    person: npt.NDArray[np.float32] | None = None


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
        judges: Sequence[Path | str | Judge] = (),
    ) -> None:
        """Opens a bundle; engines are loaded when they are first used.

        Args:
            bundle: Folder of a bundle; None takes the one inside the package.
            threads: Threads of each engine; None takes all cores of this process.
            device: ``"cuda"`` needs an ONNX Runtime with CUDA.
            judges: Recognisers of your own, each of which must also take every output for another
                person: ONNX files with their cards beside them, or opened ones.

        Raises:
            BundleError: The bundle is missing, damaged or of another contract.
            EngineError: The device is not available.
            UsageError: ``threads``, ``device`` or a judge makes no sense.
        """
        self._judges = tuple(j if isinstance(j, Judge) else Judge(Path(j)) for j in judges)
        self.bundle: Bundle = load_bundle(bundle)
        self._engines = OnnxEngines(self.bundle, threads=threads, device=device)

    def anonymize(
        self,
        photos: Sequence[PhotoLike],
        *,
        keep: KeepLike | Sequence[KeepLike] = "none",
        seed: int | None = None,
        key: CaseKey | None = None,
        distinct_from: npt.NDArray[np.float32] | None = None,
        progress: Progress | None = None,
        faces: Faces = "all",
        steps: int | None = None,
        pixel_limit: int = PIXEL_LIMIT,
        frame: Frame = "photo",
        background: Background = "keep",
        hair: Hair = "keep",
        preserve: Sequence[str] = PRESERVABLE,
        keep_margin: str | None = None,
        variants: int = 1,
        separation: float | None = None,
        method: Method = "draw",
    ) -> list[Result]:
        """Anonymises one case: photographs of one person, who gets one new identity in all of them.

        Args:
            photos: Files, or images uint8 [h, w, 3] RGB. The largest face of each is the person.
            keep: What stays as photographed: ``"none"``, ``"mouth"``, ``"eyes,brows"``, a polygon
                (text, or points [p, 2]), a mask file (Path, or the text of an existing path) or a
                bool mask [h, w] of the photo's size; docs/regions.md. One value for all
                photographs, or a list with one for each.
            seed: Seed of all draws, 0 to 2^63 - 1; None takes a new random one. It is in the
                report.
            key: Draws the new identity in the seed's place: the same one for this patient in every
                call with the same bundle and settings, as far as the gate lets it through.
            distinct_from: float32 [m, e], the ``person`` of other results; none of them comes out.
            progress: Called with the name of the stage and the done fraction in [0, 1], never
                decreasing.
            faces: See :class:`vera.settings.Settings` for this and all further ones.
            steps: Upper limit of gradient steps of the inversion.
            pixel_limit: Largest number of pixels of a photograph.
            frame: ``"photo"`` or ``"crop"``.
            background: ``"keep"``, ``"blur"`` or ``"regenerate"``.
            hair: ``"keep"`` or ``"regenerate"``.
            preserve: Out of ``"expression"``, ``"age"``, ``"skin-tone"``.
            keep_margin: ``"3px"`` or ``"1.5mm"``.
            variants: How many new identities each photograph gets.
            separation: Largest cosine between variants and to ``distinct_from``.
            method: ``"draw"`` or ``"margin"``.

        Returns:
            One result per photograph, in order; with several variants all photographs of the first
            variant, then all of the second. A photograph that cannot be read or must not be written
            is a refused result without an image.

        Raises:
            UsageError: The request makes no sense.
            EngineError: An engine failed.
        """
        settings = Settings(
            faces=faces,
            steps=steps,
            pixel_limit=pixel_limit,
            frame=frame,
            background=background,
            hair=hair,
            preserve=tuple(preserve),
            keep_margin=keep_margin,
            variants=variants,
            separation=separation,
            method=method,
        )
        case = open_case(photos, keep=keep, seed=seed, settings=settings, key=key)
        told = progress or _silent
        done = anonymize_case(case, self._engines, self.bundle, told, distinct_from, self._judges)
        return [Result(outcome.image, outcome.report, outcome.person) for outcome in done]


def _silent(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""
