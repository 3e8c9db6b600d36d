"""What a user holds: a face in, edits in sequence, pictures and what was measured in them out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vera.bundle import Bundle, load_bundle
from vera.editing.directions import Directions
from vera.editing.drawing import draw_person, truncated
from vera.editing.grammar import Aim, Drawn, Edit, Mix, Truncate, parse_edit
from vera.editing.latent_file import load_latents
from vera.editing.look import look_at
from vera.editing.search import pursue
from vera.editing.state import Face, Image, Look, Reached, Step
from vera.engines import Engines, OnnxEngines, Tensor
from vera.errors import UsageError
from vera.face.faces import find_faces
from vera.files.photo import PIXEL_LIMIT, read_photo
from vera.identity.inversion import InversionConfig, invert
from vera.region.subject import Subject
from vera.rendering import render

Progress = Callable[[str, float], None]


class Editor:
    """Edits faces with the generator of a bundle.

    Nothing here anonymises: pictures made from a photograph show the person in it. Not thread-safe.
    """

    def __init__(
        self,
        bundle: Path | Bundle | None = None,
        *,
        threads: int | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        engines: Engines | None = None,
    ) -> None:
        """Opens a bundle; engines are loaded when they are first used.

        Args:
            bundle: Folder of a bundle, or an open one; None takes the one inside the package.
            threads: Threads of each engine; None takes all cores of this process.
            device: ``"cuda"`` needs an ONNX Runtime with CUDA.
            engines: What runs the bundle's engines, if not ONNX Runtime in this process.

        Raises:
            BundleError: The bundle is missing, damaged or of another contract.
            EngineError: The device is not available.
            UsageError: ``threads`` or ``device`` makes no sense.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self._engines = engines or OnnxEngines(self.bundle, threads=threads, device=device)
        self._directions = Directions(self.bundle.identities, self._engines)

    def from_photo(
        self,
        photo: Path | str | Image,
        *,
        face: int = 1,
        steps: int | None = None,
        pixel_limit: int = PIXEL_LIMIT,
        progress: Progress | None = None,
    ) -> Face:
        """Inverts a face of a photograph.

        Args:
            photo: A file, or an image uint8 [h, w, 3] RGB.
            face: Which one, 1 is the largest.
            steps: Upper limit of gradient steps of the inversion; None takes the tuned default.
            pixel_limit: Largest number of pixels of the photograph.
            progress: Called with ``"invert"`` and the done fraction.

        Raises:
            PhotoError: The photograph cannot be read.
            RefusedError: No face was found, or it is too small.
            UsageError: There is no such face, or ``steps`` is negative.
            EngineError: An engine failed.
        """
        if steps is not None and steps < 0:
            raise UsageError(f"steps must be 0 or more, got {steps}; leave it out for the default.")
        say = progress or _silent
        if isinstance(photo, np.ndarray):
            image: Image = photo
        else:
            image = read_photo(Path(photo), pixel_limit=pixel_limit).image
        found, _ = find_faces(image, self._engines)
        if not 1 <= face <= len(found):
            raise UsageError(
                f"Face {face} was asked for, the photograph has {len(found)}; they are counted "
                "from 1, the largest."
            )
        aligned = found[face - 1]
        inversion = invert(
            [aligned],
            [image.shape[:2]],
            self._engines,
            self.bundle,
            InversionConfig.suited(self.bundle, steps),
            lambda done: say("invert", done),
        )
        return Face(
            latents=inversion.latents[0],
            origin="photo",
            personal=True,
            embedding=aligned.embedding,
            subject=Subject(image, aligned, np.zeros(image.shape[:2], np.bool_)),
        )

    def from_file(self, path: Path | str) -> Face:
        """A saved face.

        Raises:
            PhotoError: See :func:`vera.editing.latent_file.load_latents`.
        """
        latents, personal = load_latents(Path(path), self.bundle)
        return Face(latents, "file", personal)

    def draw(self, seed: int, *, truncation: float = 1.0) -> Face:
        """A synthetic person.

        Args:
            seed: 0 or more.
            truncation: Share of the distance to the bank's mean face that is left, 0 to 1.
        """
        bank = self.bundle.identities
        return Face(truncated(draw_person(bank, seed), bank, truncation), "draw", personal=False)

    def edit(
        self, face: Face, edits: Sequence[str | Edit], *, progress: Progress | None = None
    ) -> list[Step]:
        """Applies edits one after the other.

        Args:
            face: What is edited.
            edits: As text (see :func:`vera.editing.parse_edit`) or parsed.
            progress: Called with the stage (an edit's label, or ``"measure the bank"``) and the
                done fraction of the edits.

        Returns:
            The face before all edits, and after each.

        Raises:
            UsageError: An edit makes no sense.
            PhotoError: A latents file cannot be used.
            EngineError: An engine failed.
        """
        say = progress or _silent
        parsed = [parse_edit(edit) if isinstance(edit, str) else edit for edit in edits]
        others = [self._other(edit) for edit in parsed]
        look = look_at(face.latents, self._engines)
        photo = face.embedding
        steps = [Step("start", face.latents, look, 1.0, _cosine(look, photo), face.personal)]
        for i, (edit, other) in enumerate(zip(parsed, others, strict=True)):
            say(edit.label, i / len(parsed))
            last = steps[-1]
            latents, look, reached = self._apply(edit, other, last, say)
            personal = last.personal or (other is not None and other.personal)
            start = float(look.embedding @ steps[0].look.embedding)
            steps.append(
                Step(edit.label, latents, look, start, _cosine(look, photo), personal, reached)
            )
        return steps

    def frames(self, path: Sequence[Tensor], count: int) -> list[Image]:
        """Pictures on the straight lines between latents.

        Args:
            path: Two or more latents [32, d].
            count: Pictures in all, 2 or more; evenly spread, the ends included.
        """
        if len(path) < 2 or count < 2:
            raise UsageError(
                f"An interpolation needs two faces and two frames, got {len(path)} and {count}; "
                "ask for more."
            )
        pictures = []
        for place in np.linspace(0, len(path) - 1, count):
            i = min(int(place), len(path) - 2)
            share = np.float32(place - i)
            latents = (1 - share) * path[i] + share * path[i + 1]
            pictures.append(look_at(latents, self._engines).image)
        return pictures

    def in_place(self, face: Face, latents: Tensor) -> Image:
        """The photograph with the edited face in it, [h, w, 3]; its hair and background stay.

        Args:
            face: Of a photograph.
            latents: float32 [32, d], edited.

        Raises:
            UsageError: The face is of no photograph.
            RefusedError: The parts of the face could not be told apart.
        """
        if face.subject is None:
            raise UsageError(
                "Only the face of a photograph can be put back in place; pass the photograph."
            )
        rendered = render.render(latents[None], [face.subject], self._engines)[0]
        scene = render.scene_of(face.subject, refined="refiner" in self.bundle.engines)
        return render.place(rendered, face.subject, scene, (0,), self._engines)

    def _other(self, edit: Edit) -> Face | None:
        """The face that an edit takes from; all of them are read before any work is done."""
        if not isinstance(edit, Mix):
            return None
        if isinstance(edit.source, Drawn):
            return self.draw(edit.source.seed)
        return self.from_file(edit.source.path)

    def _apply(
        self, edit: Edit, other: Face | None, last: Step, say: Progress
    ) -> tuple[Tensor, Look, Reached | None]:
        if isinstance(edit, Aim):
            direction = self._directions.along(
                edit.name, lambda done: say("measure the bank", done)
            )
            return pursue(
                edit, last.latents, last.look, direction, lambda w: look_at(w, self._engines)
            )
        if isinstance(edit, Truncate):
            latents = truncated(last.latents, self.bundle.identities, edit.share)
        else:
            latents = mixed(edit, last.latents, other.latents if other else last.latents)
        return latents, look_at(latents, self._engines), None


def mixed(edit: Mix, latents: Tensor, other: Tensor) -> Tensor:
    """Latents [32, d] with the rows of an edit taken from ``other``."""
    rows = list(edit.rows)
    result = latents.copy()
    share = np.float32(edit.strength)
    result[rows] = (1 - share) * latents[rows] + share * other[rows]  # exact for a strength of 1
    return result


def _cosine(look: Look, embedding: Tensor | None) -> float | None:
    return None if embedding is None else float(look.embedding @ embedding)


def _silent(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""
