"""How a case is anonymised: everything but the photographs, what is kept of each, and the draw."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from vera.errors import UsageError
from vera.files.photo import PIXEL_LIMIT
from vera.request.keep_margin import Margin

Faces = Literal["all", "largest"]
Frame = Literal["photo", "crop"]
Background = Literal["keep", "blur", "regenerate"]
Hair = Literal["keep", "regenerate"]
Method = Literal["draw", "margin"]

# What --preserve may name: the rest of the original that the new person takes over.
PRESERVABLE = ("expression", "age", "skin-tone")

_CHOICES = {"faces": Faces, "frame": Frame, "background": Background, "hair": Hair}
_CHOICES |= {"method": Method}
_MOST_VARIANTS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """The controls of a case; the same names in Python and on the command line.

    Attributes:
        faces: ``"all"`` replaces bystanders too, each by a person of their own.
        steps: Upper limit of the inversion's gradient steps; None takes the tuned default.
        pixel_limit: Largest number of pixels of a photograph.
        frame: ``"photo"`` gives the photograph with the face replaced in place, ``"crop"`` the
            aligned square of the face alone.
        background: ``"blur"`` makes everything that is no person unreadable; ``"regenerate"`` draws
            a new one, with ``frame="crop"`` only.
        hair: Kept as photographed, or regenerated with the face.
        preserve: Out of :data:`PRESERVABLE`; the new person may differ in what is left out.
        keep_margin: By how much the kept region is grown: ``"3px"`` of the photograph, or
            ``"1.5mm"`` on the scale of a pupil distance of 63 mm. None takes the built-in margin.
        variants: How many new identities each case gets.
        separation: Largest cosine between two variants of a photograph (None: 0.7), and between
            the new people of two cases that must be distinct (None: 0.95).
        method: ``"draw"`` draws a synthetic person; ``"margin"`` moves the nearest synthetic person
            by optimisation until it is far enough from the original (FALCO, arXiv 2303.11296).

    Raises:
        UsageError: A value makes no sense.
    """

    faces: Faces = "all"
    steps: int | None = None
    pixel_limit: int = PIXEL_LIMIT
    frame: Frame = "photo"
    background: Background = "keep"
    hair: Hair = "keep"
    preserve: tuple[str, ...] = PRESERVABLE
    keep_margin: str | None = None
    variants: int = 1
    separation: float | None = None
    method: Method = "draw"

    def __post_init__(self) -> None:
        """Checks what the types cannot hold, for callers without a type checker."""
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(choices):
                allowed = " or ".join(map(repr, get_args(choices)))
                raise UsageError(f"{name} must be {allowed}, got {value!r}; choose one of them.")
        if self.background == "regenerate" and self.frame != "crop":
            raise UsageError(
                "background 'regenerate' needs frame 'crop', since a photograph goes on beyond the "
                "generated square; choose frame 'crop' or background 'blur'."
            )
        if self.keep_margin is not None:
            Margin.parse(self.keep_margin)
        if self.steps is not None and self.steps < 0:
            raise UsageError(
                f"steps must be 0 or more, got {self.steps}; leave it out for the tuned default."
            )
        if self.pixel_limit < 1:
            raise UsageError(
                f"pixel_limit must be at least 1, got {self.pixel_limit}; leave it out for the "
                "default."
            )
        odd = [name for name in self.preserve if name not in PRESERVABLE]
        if odd:
            raise UsageError(
                f"preserve takes {', '.join(PRESERVABLE)}, got {odd[0]!r}; leave it out."
            )
        # One order, since the settings are compared and hashed.
        ordered = tuple(name for name in PRESERVABLE if name in self.preserve)
        object.__setattr__(self, "preserve", ordered)
        if not 1 <= self.variants <= _MOST_VARIANTS:
            raise UsageError(
                f"variants must be from 1 to {_MOST_VARIANTS}, got {self.variants}; run again with "
                "another seed for more."
            )
        if self.separation is not None and not -1 < self.separation < 1:
            raise UsageError(
                f"separation is a cosine between -1 and 1, got {self.separation}; leave it out for "
                "the default."
            )

    @property
    def freed(self) -> tuple[str, ...]:
        """What the new person may differ in: all of :data:`PRESERVABLE` that is not preserved."""
        return tuple(name for name in PRESERVABLE if name not in self.preserve)

    def options(self) -> Mapping[str, Any]:
        """The settings by name, as they go into a report or a digest."""
        return asdict(self)


NAMES = tuple(field.name for field in fields(Settings))


def settings_of(given: Mapping[str, Any]) -> Settings:
    """The settings that a caller gave by name.

    Raises:
        UsageError: There is no such setting, or a value makes no sense.
    """
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise UsageError(f"There is no setting '{unknown[0]}'; leave it out.")
    values = dict(given)
    if "preserve" in values:
        values["preserve"] = tuple(values["preserve"])
    return Settings(**values)
