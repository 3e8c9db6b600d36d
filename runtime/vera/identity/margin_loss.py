"""What a moved person costs: likeness outside a band, changed attributes, the way from the start.

The variables are places along the main differences between synthetic people, in standard
deviations. Codes moved one by one give faces that no human being has.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from vera.bundle import Bundle
from vera.engines import Engines, Gradient, Tensor
from vera.errors import EngineError, UsageError
from vera.face.appearance import TRAITS, Appearance
from vera.gate.gate import Gate
from vera.identity.guided import Guidance, View
from vera.identity.redraw import IDENTITY_PARTS, redraw, replaced_rows
from vera.region.subject import Subject


@dataclass(frozen=True, slots=True)
class MarginConfig:
    """Settings of the optimisation.

    Attributes:
        high: Cosine to the original above which likeness costs.
        low: Cosine below which unlikeness costs.
        steps: Upper limit of gradient steps.
        learning_rate: Plateau of Adam's ramp.
        identity: Weight of the squared distance of the cosine to the band.
        attributes: Weight of the guide's attribute loss.
        regulariser: Weight of the mean squared distance to the start, in standard deviations.
        directions: How many of the main differences between people are searched.
        refit: Steps between two fits of the face into its photograph.
        patience: Steps over which the loss must improve for the optimisation to go on.
        tolerance: By which share it must improve over them.
    """

    high: float
    low: float
    steps: int = 30
    learning_rate: float = 0.1
    identity: float = 20.0
    attributes: float = 1.0
    regulariser: float = 0.3
    directions: int = 64
    refit: int = 10
    patience: int = 12
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        """Refuses a band that is none."""
        if not self.low <= self.high:
            raise UsageError(
                f"The band of cosines goes from {self.low} to {self.high}; choose low below high."
            )

    @classmethod
    def suited(cls, bundle: Bundle) -> "MarginConfig":
        """The settings for a bundle; other embedders have other cosines."""
        reach = _REACH * max(Gate(bundle.gate.cosine_threshold).limit, 0.0)
        return cls(high=reach, low=-reach)


# The band, on both sides of 0, as a share of the gate's limit. In the finished photograph, blended
# and sharpened, the cosine comes out some 0.06 larger.
_REACH = 1 / 3


@dataclass(frozen=True, slots=True, eq=False)
class Movable:
    """The photographs of a case, and which of their codes a new person takes over.

    Attributes:
        subjects: The person's face in each photograph.
        latents: float32 [n, 32, d], their inversion.
        wanted: What a new person must fit.
        traits: In what, see :func:`vera.face.appearance.misfit`.
        parts: Classes whose codes are replaced.
        codes: High-level codes that are replaced.
        freed: Settings that are not preserved, out of ``settings.PRESERVABLE``.
    """

    subjects: Sequence[Subject]
    latents: Tensor
    wanted: Appearance
    traits: Collection[str] = TRAITS
    parts: Sequence[int] = IDENTITY_PARTS
    codes: Collection[str] = ("identity",)
    freed: Collection[str] = ()

    def with_identity(self, identity: Tensor) -> Tensor:
        """The latents [n, 32, d] of the photographs with the person ``identity`` [32, d]."""
        kept = [subject.kept_classes for subject in self.subjects]
        return redraw(self.latents, identity, kept, self.parts, self.codes)

    def rows(self, photo: int) -> list[int]:
        """Rows of one photograph that the new person takes over."""
        return replaced_rows(self.subjects[photo].kept_classes, self.parts, self.codes)

    @property
    def all_rows(self) -> list[int]:
        """Rows that the new person takes over in any photograph."""
        return sorted({row for photo in range(len(self.subjects)) for row in self.rows(photo)})


def band(cosine: float, low: float, high: float) -> tuple[float, float]:
    """Squared distance of a cosine to the band [low, high], and its derivative."""
    beyond = max(cosine - high, 0.0) + min(cosine - low, 0.0)
    return beyond**2, 2 * beyond


def differences(people: Tensor, count: int) -> Tensor:
    """Principal directions [count or less, k d] of codes [m, k, d], one standard deviation long."""
    flat = people.reshape(len(people), -1).astype(np.float64)
    _, lengths, directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    lengths = lengths / np.sqrt(max(len(people) - 1, 1))
    return np.asarray((lengths[:, None] * directions)[:count], np.float32)


@dataclass(frozen=True, slots=True)
class Reading:
    """Loss of a person; cosine and attribute loss of the case's worst photograph."""

    loss: float
    cosine: float
    attributes: float


class Objective:
    """Loss of the person at some place on the way from ``start``, and its gradient."""

    def __init__(
        self, case: Movable, start: Tensor, basis: Tensor, engines: Engines, config: MarginConfig
    ) -> None:
        """``start`` [32, d]; ``basis`` as :func:`differences` makes it of the case's rows."""
        self._case, self._start, self._basis, self._config = case, start, basis, config
        self._views = [View(subject, engines) for subject in case.subjects]
        self._gradient: Gradient = engines.gradient()
        self._grads: dict[str, Tensor] = {}
        self._fitted = False

    def identity(self, places: Tensor) -> Tensor:
        """Codes [32, d] of the person at ``places`` [1, 1, k]."""
        rows = self._case.all_rows
        identity = np.array(self._start, np.float32)
        identity[rows] += (places.reshape(-1) @ self._basis).reshape(len(rows), -1)
        return identity

    def evaluate(self, places: Tensor, *, fit: bool) -> tuple[Reading, Tensor]:
        """Loss at ``places`` [1, 1, k] and its gradient by them, less that of the way.

        Args:
            places: In standard deviations.
            fit: Whether the face is fitted into its photographs anew.
        """
        config, identity = self._config, self.identity(places)
        latents, grad = self._case.with_identity(identity), np.zeros_like(identity)
        told = []
        for i in range(len(self._views)):
            told.append(self._look(i, latents[i : i + 1], fit))
            rows = self._case.rows(i)
            grad[rows] += self._backward(told[i])[0, rows]
        self._fitted = True
        away = [band(t.cosine, config.low, config.high)[0] for t in told]
        attributes = [t.attributes for t in told]
        loss = (
            config.identity * np.mean(away)
            + config.attributes * np.mean(attributes)
            + config.regulariser * np.mean(places**2)
        )
        if not (np.isfinite(loss) and np.isfinite(grad).all()):
            raise EngineError(
                "The loss or gradient of a moved person is not finite; run vera check, or use "
                "--method draw."
            )
        reading = Reading(float(loss), max(t.cosine for t in told), max(attributes))
        flat = grad[self._case.all_rows].reshape(-1)
        return reading, np.ascontiguousarray(self._basis @ flat).reshape(places.shape)

    def _look(self, photo: int, latent: Tensor, fit: bool) -> Guidance:
        """What the guide says of the person in one photograph, whose picture is then the last."""
        view = self._views[photo]
        self._gradient.forward(latent)
        picture = self._gradient.outputs["image"]
        if fit:
            view.fit(latent, picture)
        if not self._fitted:
            view.free(self._case.freed)
        return view.guidance(picture)

    def _backward(self, told: Guidance) -> Tensor:
        """Gradient [1, 32, d] of the loss of the picture last rendered, by its latent."""
        config, count = self._config, len(self._views)
        slope = band(told.cosine, config.low, config.high)[1]
        if not self._grads:  # the engine is bound to these arrays: the others stay zero
            outputs = self._gradient.outputs
            self._grads = {f"grad_{name}": np.zeros_like(v) for name, v in outputs.items()}
        self._grads["grad_image"][...] = (
            config.identity / count * slope * told.grad_cosine
            + config.attributes / count * told.grad_attributes
        )
        return self._gradient.backward(self._grads)
