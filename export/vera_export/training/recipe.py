"""Settings of the generator's training, and the recipes that were used.

Every loss has a weight; 0 leaves it out, which is how an ablation is made
(``vera-export train generator --set contrast=0``).
"""

from dataclasses import dataclass, field, fields, replace

from vera.errors import UsageError
from vera_export.models.discriminator import DiscriminatorConfig
from vera_export.training.diffaugment import AugmentationConfig


@dataclass(frozen=True)
class Recipe:
    """One training run of generator, encoder and mapping.

    Attributes:
        batch: Images per step.
        learning_rate: Of the three networks; of Adam.
        discriminator_rate: Of the discriminator.
        warm_up_steps: Steps of linear rise of both.
        decay_from: Share of the time after which the first falls.
        averaging: Decay per step of the averaged weights; longer averages lag on short runs.
        pixel: Weight of the L1 distance of reconstructions.
        perceptual: Weight of their distance in the features of the perceptual teacher.
        parts: Weight of the cross-entropy of fine and coarse part maps.
        attributes: Weight of mapping and encoder agreeing on what was measured.
        codes: Weight of the mean square of the latents.
        code_noise: Standard deviation of the noise on latents.
        adversarial: Weight of the non-saturating loss of the dual-branch discriminator.
        projected: Weight of the projected discriminator's loss.
        projected_rate: Learning rate of the projected discriminator.
        adversarial_from: Step from which on the generator hears the discriminator.
        r1_image: Gamma of R1 on the image (Mescheder 2018), as in SemanticStyleGAN.
        r1_parts: Gamma of R1 on the part map.
        r1_every: Steps between two R1 terms (lazy regularisation).
        mask_consistency: Weight of coarse masks agreeing with fine ones, on a scale of -1..1.
        path_length: Weight of the path-length regulariser (Karras 2020).
        path_every: Steps between two of its terms.
        style_mixing: Share of drawn faces with parts of two people; the others swap identities.
        cycle: Weight of the encoder finding the latents that a drawn face was made from.
        contrast: Weight of the contrastive losses of the high-level codes.
        contrast_every: Steps between two of its terms.
        quadruples: Quadruples per high-level code and term.
        mirror: Whether quadruples are judged mirrored, each by chance.
    """

    batch: int = 16
    learning_rate: float = 2e-3
    discriminator_rate: float = 2e-3
    warm_up_steps: int = 100
    decay_from: float = 0.6
    averaging: float = 0.99
    pixel: float = 2.0
    perceptual: float = 0.35
    parts: float = 0.15
    attributes: float = 0.1
    codes: float = 2e-4
    code_noise: float = 0.05
    adversarial: float = 0.0
    projected: float = 0.0
    projected_rate: float = 3e-3
    adversarial_from: int = 100
    r1_image: float = 5.0
    r1_parts: float = 50.0
    r1_every: int = 16
    mask_consistency: float = 0.0
    path_length: float = 0.0
    path_every: int = 4
    style_mixing: float = 0.5
    cycle: float = 0.0
    contrast: float = 0.0
    contrast_every: int = 2
    quadruples: int = 1
    mirror: bool = True
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


_SECOND = Recipe(
    learning_rate=6e-4,
    discriminator_rate=2e-3,
    decay_from=0.5,
    averaging=0.995,
    code_noise=0.03,
    projected=0.12,
    mask_consistency=5.0,
    cycle=0.3,
    contrast=0.1,
)

RECIPES = {
    # From nothing: hours on two CPU cores.
    "reconstruction": Recipe(),
    # From a trained reconstruction: gentler, fading earlier.
    "continued": Recipe(learning_rate=1.5e-3, decay_from=0.35, code_noise=0.03),
    # Second stage on a CPU: drawn faces before a projected discriminator (the dual-branch one told
    # real from made by 0.03 of its score after 50 steps, this one every image after 10), contrast
    # of the high-level codes.
    "adversarial": _SECOND,
    # One GPU, 25 minutes: whole crops, every regulariser of SemanticStyleGAN.
    "gpu": replace(
        _SECOND,
        batch=64,
        adversarial=0.1,
        learning_rate=1e-3,
        discriminator_rate=2e-3,
        averaging=0.998,
        adversarial_from=500,
        r1_image=10.0,
        r1_parts=1000.0,
        path_length=0.5,
        contrast_every=1,
        quadruples=4,
        augmentation=AugmentationConfig(images=500_000),
        discriminator=DiscriminatorConfig.large(),
    ),
    # Every term, on networks of the tiny preset: for tests.
    "smoke": replace(
        _SECOND,
        batch=4,
        adversarial=0.1,
        warm_up_steps=2,
        adversarial_from=0,
        r1_every=2,
        path_length=0.5,
        path_every=2,
        contrast_every=2,
        discriminator=DiscriminatorConfig.tiny(),
    ),
}


def parse_settings(texts: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a table.

    Raises:
        UsageError: A text is not of that form.
    """
    for text in texts:
        if "=" not in text:
            raise UsageError(f"A setting must be NAME=VALUE, got {text!r}; write it so.")
    return dict(text.split("=", 1) for text in texts)


def overridden(recipe: Recipe, settings: dict[str, str]) -> Recipe:
    """``recipe`` with settings given as text.

    Raises:
        UsageError: A setting does not exist or its value is not of its kind.
    """
    known = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    changes: dict[str, object] = {}
    for name, text in settings.items():
        value = known.get(name)
        if not isinstance(value, bool | int | float):
            numbers = ", ".join(k for k, v in known.items() if isinstance(v, bool | int | float))
            raise UsageError(f"There is no setting {name!r}; choose one of {numbers}.")
        try:
            changes[name] = type(value)(int(text)) if type(value) is bool else type(value)(text)
        except ValueError as error:
            kind = type(value).__name__
            raise UsageError(
                f"{name} must be of kind {kind}, got {text!r}; write --set {name}=VALUE."
            ) from error
    return replace(recipe, **changes)  # type: ignore[arg-type]
