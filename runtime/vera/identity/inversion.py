"""Joint inversion: latents of all photographs of a case, the identity code shared by all of them.

Starts at the encoder, or at the mean latent in a bundle without one, and takes gradient steps with
the exported generator, its exported gradient and the native loss and optimiser. Photographs go
through the engines one by one, so that none depends on its neighbours except through the shared
code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Bundle
from vera.engines import Engines, Tensor
from vera.errors import EngineError
from vera.face.faces import AlignedFace
from vera.identity.objective import Evaluator, Losses, OneByOne
from vera.identity.redraw import IDENTITY_PARTS
from vera.identity.target import Target, make_target
from vera.ops.adam_step import adam_state_for, adam_step
from vera.ops.inversion_target import LossWeights
from vera.report import InversionReport

_WEIGHTS = LossWeights(pixel=1.0, perceptual=1.0, segmentation=0.1, coarse=0.05)


@dataclass(frozen=True, slots=True)
class InversionConfig:
    """Settings of the inversion.

    Attributes:
        steps: Upper limit of gradient steps; 0 takes the encoder's latents.
        learning_rate: Plateau of Adam's ramp. The encoder's start needs far less than the 0.1 that
            is used from a mean latent.
        weights: Of the terms of the loss.
        regulariser: Weight of the pull towards the mean latent.
        patience: Steps over which the loss must improve for the inversion to go on.
        tolerance: By which share it must improve over them.
        soft_tie: Weight of the pull of untreated identity parts towards the case's mean. On six
            pairs 0, 0.0001, 0.001, 0.01 gave within-pair cosines (mouth kept, painted over) of
            0.810, 0.809, 0.815, 0.841 and final losses of 0.922, 0.924, 0.930, 0.943.
    """

    steps: int = 40
    learning_rate: float = 0.05
    weights: LossWeights = _WEIGHTS
    regulariser: float = 0.001
    patience: int = 8
    tolerance: float = 0.01
    soft_tie: float = 0.01

    @classmethod
    def suited(cls, bundle: Bundle, steps: int | None = None) -> "InversionConfig":
        """The settings for a bundle; ``steps`` replaces their upper limit.

        Without an encoder: the schedule of SemanticStyleGAN's inversion from the mean latent
        (visualize/invert.py), Adam at 0.1 for 400 steps, pixels at a tenth of the features.
        """
        config = cls() if "encoder" in bundle.engines else _FROM_MEAN
        return config if steps is None else replace(config, steps=steps)


_FROM_MEAN = InversionConfig(
    steps=400, learning_rate=0.1, weights=replace(_WEIGHTS, pixel=0.1), regulariser=1.0, patience=50
)


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """The result of an inversion.

    Attributes:
        latents: float32 [n, 32, d] of the smallest loss.
        losses: Mean loss over the photographs before each step and at the end.
    """

    latents: Tensor
    losses: tuple[float, ...]

    @property
    def report(self) -> InversionReport:
        """Steps and losses, for the report."""
        return InversionReport(
            len(self.losses) - 1, round(self.losses[0], 5), round(min(self.losses), 5)
        )


def invert(
    faces: Sequence[AlignedFace],
    sizes: Sequence[tuple[int, ...]],
    engines: Engines,
    bundle: Bundle,
    config: InversionConfig,
    progress: Callable[[float], None],
    kept: Sequence[tuple[int, ...]] | None = None,
    evaluator: Evaluator | None = None,
) -> Inversion:
    """Finds the latents of one person's photographs.

    Stops after ``config.steps`` steps, or earlier when the loss has improved by less than
    ``tolerance`` over ``patience`` steps. A pure function of its arguments.

    Args:
        faces: The person's face in each photograph.
        sizes: Height and width of each photograph.
        engines: Runs the engines.
        bundle: Weights of the features, and the mean latent.
        config: Settings.
        progress: Called with the done fraction.
        kept: Classes kept of each photograph: their codes are free, they are what may differ.
        evaluator: Computes loss and gradient; None does it here, face by face.

    Raises:
        EngineError: An engine failed, or the loss is not finite.
    """
    weights = replace(config.weights, temperature=bundle.layout.temperature)
    targets = [
        make_target(face, size, engines, bundle.feature_weights, weights)
        for face, size in zip(faces, sizes, strict=True)
    ]
    latents = start(targets, engines, bundle)
    evaluator = evaluator or OneByOne(engines)
    state = adam_state_for(latents)
    tie = tied_rows(len(targets))
    shared = shared_parts(kept or [()] * len(targets))
    losses: list[float] = []
    best = latents.copy()
    for step in range(1, config.steps + 2):
        last = step > config.steps
        each, grad = evaluator.evaluate(targets, latents, with_gradient=not last)
        loss = _mean(each, grad)
        if not losses or loss < min(losses):
            best[...] = latents
        losses.append(loss)
        grad += tie_gradient(latents, shared, config.soft_tie)
        progress(step / (config.steps + 1))
        if last or settled(losses, config.patience, config.tolerance):
            break
        adam_step(
            latents,
            grad,
            state,
            step=step,
            steps=config.steps,
            learning_rate=config.learning_rate,
            latent_mean=bundle.identities.mean,
            regulariser=config.regulariser,
            tie=tie,
        )
    return Inversion(best, tuple(losses))


def start(targets: Sequence[Target], engines: Engines, bundle: Bundle) -> Tensor:
    """The encoder's latents [n, 32, d], with the mean identity code in all of them.

    Without an encoder all of them are the mean latent of the bundle's bank.
    """
    if "encoder" not in bundle.engines:
        return np.repeat(bundle.identities.mean[None], len(targets), axis=0)
    codes = [engines.run("encoder", crop=t.crop, labels=t.one_hot)["latent"] for t in targets]
    latents = np.ascontiguousarray(np.concatenate(codes), np.float32)
    identity = contract.high_level_row("identity")
    latents[:, identity] = latents[:, identity].mean(0)
    return latents


def tied_rows(n: int) -> npt.NDArray[np.int32]:
    """For ``adam_step``: identity rows follow the first photograph's, others themselves."""
    tie = np.arange(n * contract.LATENT_ROWS, dtype=np.int32).reshape(n, contract.LATENT_ROWS)
    identity = contract.high_level_row("identity")
    tie[:, identity] = identity
    return tie


def shared_parts(kept: Sequence[tuple[int, ...]]) -> npt.NDArray[np.bool_]:
    """Bool [n, 32]: rows of identity parts that all photographs of a person should agree on.

    A kept part of a photograph is left out there: that it changed between the visits is what the
    photographs were taken to show.
    """
    rows = np.zeros((len(kept), contract.LATENT_ROWS), np.bool_)
    for i, classes in enumerate(kept):
        for part in IDENTITY_PARTS:
            if part not in classes:
                rows[i, [contract.shape_row(part), contract.texture_row(part)]] = True
    return rows


def tie_gradient(latents: Tensor, shared: npt.NDArray[np.bool_], weight: float) -> Tensor:
    """Gradient [n, 32, d] of ``weight * sum |w_i - mean w|^2`` over the photographs sharing a row.

    The soft tie of a paired inversion (VerA, arXiv 2312.02124; only the identity code is one and
    the same for all photographs).
    """
    count = np.maximum(shared.sum(0), 1)[:, None].astype(np.float32)
    mean = (latents * shared[..., None]).sum(0) / count
    return np.asarray(2 * weight * shared[..., None] * (latents - mean), np.float32)


def settled(losses: Sequence[float], patience: int, tolerance: float) -> bool:
    """Whether the last ``patience`` steps improved the best loss by less than ``tolerance``."""
    if len(losses) <= patience:
        return False
    before = min(losses[:-patience])
    return min(losses[-patience:]) > before * (1 - tolerance)


def _mean(losses: Losses, grad: Tensor) -> float:
    """Mean loss of a case.

    Raises:
        EngineError: It or the gradient is not finite.
    """
    if not (np.isfinite(losses).all() and np.isfinite(grad).all()):
        raise EngineError(
            "The inversion's loss or gradient is not finite; run vera check, or use another bundle."
        )
    # One after the other, as they have always been added: another order would move the last bits.
    return sum(map(float, losses)) / len(losses)
