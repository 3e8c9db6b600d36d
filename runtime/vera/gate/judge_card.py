"""The card of a judge: what has to be known of a recogniser besides its ONNX file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vera.errors import UsageError
from vera.files.write import write_text

# Ranges of a network's input, by the name a card gives them: what black and white become.
RANGES = {"0..255": (0.0, 255.0), "-1..1": (-1.0, 1.0), "0..1": (0.0, 1.0)}

_RETRY = "correct it, or write it again by `vera evaluate --calibrate`"


@dataclass(frozen=True, slots=True)
class Card:
    """What a card says; None is not known.

    Attributes:
        name: Of the recogniser, as reports call it.
        values: Range of the input, a key of :data:`RANGES`.
        threshold: Cosine from which on two faces are one person.
        false_accept_rate: Share of pairs of different people above it, in [0, 1].
        calibration: Where the last two come from, as a sentence.
        sha256: First 12 digits of the hash of the model that was calibrated.
    """

    name: str | None = None
    values: str | None = None
    threshold: float | None = None
    false_accept_rate: float | None = None
    calibration: str | None = None
    sha256: str | None = None


def model_hash(path: Path) -> str:
    """First 12 digits of a file's sha256.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    except OSError as error:
        raise UsageError(
            f"The judge '{path}' cannot be read ({error.strerror}); give the path of an ONNX file."
        ) from error


def card_path(model: Path) -> Path:
    """Where the card of a model lies: ``model.json`` for ``model.onnx``."""
    return model.with_suffix(".json")


def read_card(model: Path) -> Card:
    """The card beside a model; an empty one if there is none, or if it is of another model.

    Raises:
        UsageError: The card is broken, or the model cannot be read.
    """
    path = card_path(model)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Card()
    except (OSError, ValueError) as error:
        kind = type(error).__name__
        raise UsageError(f"The judge's card '{path}' cannot be read ({kind}); {_RETRY}.") from error
    if not isinstance(entries, dict):
        raise UsageError(f"The judge's card '{path}' must be a JSON object; {_RETRY}.")
    card = Card(**{key: _entry(path, key, entries.get(key)) for key in Card.__slots__})
    # The threshold of one model says nothing about another that was put in its place.
    return card if card.sha256 in (None, model_hash(model)) else Card()


def write_card(
    model: Path,
    *,
    threshold: float,
    false_accept_rate: float,
    calibration: str,
    values: str | None = None,
    name: str | None = None,
) -> Path:
    """Writes the card of a model, replacing an earlier one.

    Args:
        model: The ONNX file.
        threshold: Cosine from which on two faces are one person.
        false_accept_rate: Share of pairs of different people above it, in [0, 1].
        calibration: Where the last two come from, as a sentence without names.
        values: Range of its input, a key of :data:`RANGES`; None takes the earlier card's.
        name: What reports call it; None takes the earlier card's.

    Returns:
        Path of the card.

    Raises:
        UsageError: A value makes no sense, or the model cannot be read.
        OutputError: The card was not written.
    """
    path, earlier = card_path(model), read_card(model)
    known = (name or earlier.name, values or earlier.values)
    card = Card(*known, threshold, false_accept_rate, calibration, model_hash(model))
    told = {key: _entry(path, key, value) for key, value in asdict(card).items()}
    entries = {key: value for key, value in told.items() if value is not None}
    write_text(path, json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _entry(path: Path, key: str, value: Any) -> Any:
    """A value of a card, checked; JSON's NaN is none."""
    if value is None:
        return None
    if key == "threshold":
        sound, wanted = _number(value) and -1 < value < 1, "a cosine between -1 and 1"
    elif key == "false_accept_rate":
        sound, wanted = _number(value) and 0 <= value <= 1, "a share from 0 to 1"
    elif key == "values":
        sound, wanted = value in RANGES, f"one of {', '.join(RANGES)}"
    else:
        sound, wanted = isinstance(value, str) and bool(value.strip()), "a text"
    if not sound:
        raise UsageError(
            f"`{key}` in the judge's card '{path}' must be {wanted}, got {value!r}; {_RETRY}."
        )
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
