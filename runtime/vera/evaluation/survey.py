"""All rows over all people: outputs in, values out.

Photographs and outputs are read person by person, so memory does not grow with the folder.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vera.evaluation.ledger import INPUT, Ledger
from vera.evaluation.matchers import Matcher
from vera.evaluation.measure import Described, Embeddings, Instruments, Measured, describe, measure
from vera.evaluation.originals import Original, open_original
from vera.evaluation.outputs import Outputs
from vera.evaluation.people import Person
from vera.evaluation.rows import Makers, Produced, Row

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Before:
    """A photograph as it was; ``original`` is None where no face was found."""

    original: Original | None
    described: Described | None


def rows_of(person: Person, rows: Sequence[Row]) -> list[Row]:
    """The rows that this person is part of: paired ones need two photographs."""
    return [row for row in rows if row.mode != "paired" or person.pairs]


def outputs_of(row: Row, person: Person, outputs: Outputs, makers: Makers) -> list[Produced]:
    """What a row made of a person; a peer's outputs stay where they are.

    Raises:
        OutputError: An output cannot be read.
    """
    return makers.make(row, person) if row.kind == "peer" else outputs.read(row, person)


def make_outputs(
    people: Sequence[Person], rows: Sequence[Row], outputs: Outputs, makers: Makers, say: Say
) -> int:
    """Makes the outputs that are not there yet, row by row.

    Returns:
        How many photographs were finished by an earlier run.

    Raises:
        EngineError: An engine failed.
        OutputError: The disk is full, or the like.
    """
    resumed = 0
    for row in rows:
        if row.kind == "peer":
            continue
        outputs.prepare(row)
        for person in people:
            if row not in rows_of(person, rows):
                continue
            if outputs.finished(row, person, makers):
                resumed += len(person.photos)
                continue
            say(f"{row.folder}: person {person.number} of {len(people)}")
            outputs.write(row, person, makers, makers.make(row, person))
    return resumed


def survey(
    people: Sequence[Person],
    rows: Sequence[Row],
    outputs: Outputs,
    makers: Makers,
    tools: Instruments,
    say: Say,
) -> Ledger:
    """Measures every output.

    Raises:
        EngineError: An engine failed.
        OutputError: An output cannot be read.
    """
    ledger = Ledger()
    for person in people:
        say(f"measuring: person {person.number} of {len(people)}")
        before = [_before(path, tools) for path in person.photos]
        _note_input(ledger, person, before, tools)
        for row in rows_of(person, rows):
            made = outputs_of(row, person, outputs, makers)
            _note_row(ledger, row, person, before, made, tools)
    return ledger


def _before(path: Path, tools: Instruments) -> _Before:
    original = open_original(path, tools.regions, tools.engines, margin=tools.margin)
    if original is None:
        return _Before(None, None)
    points = original.face.points
    described = describe(original.image, points, original, tools.regions, tools)
    return _Before(original, described)


def _note_input(
    ledger: Ledger, person: Person, before: Sequence[_Before], tools: Instruments
) -> None:
    """The photographs as they were: what every row is compared with."""
    for one in before:
        ledger.add(INPUT, person.number, face_found=float(one.original is not None))
        if one.described is not None:
            described = one.described
            ledger.describe(INPUT, person.number, described.features, described.embeddings)
    for i, j in person.pairs:
        first, second = before[i].described, before[j].described
        if first is None or second is None:
            continue
        figures: dict[str, float] = {}
        for matcher in tools.matchers:
            figures |= _pair(first.embeddings, second.embeddings, matcher)
            for region in tools.regions:
                if region in first.masked and region in second.masked:
                    hidden = _pair(first.masked[region], second.masked[region], matcher)
                    figures |= {f"{name}/{region}": value for name, value in hidden.items()}
        ledger.add(INPUT, person.number, **figures)
        ledger.records.append(_record(INPUT, person, (i, j), figures))


def _note_row(
    ledger: Ledger,
    row: Row,
    person: Person,
    before: Sequence[_Before],
    made: Sequence[Produced],
    tools: Instruments,
) -> None:
    measured: list[Measured | None] = []
    reasons = ledger.reasons.setdefault(row.folder, Counter())
    for place, (one, output) in enumerate(zip(before, made, strict=True)):
        if output.reason is not None:
            reasons[output.reason] += 1
        found = None
        if one.original is not None and one.described is not None and output.image is not None:
            found = measure(one.original, one.described, output.image, row.keep, tools)
            described = found.described
            ledger.describe(row.folder, person.number, described.features, described.embeddings)
        measured.append(found)
        figures = _photo_figures(one, output, found, tools)
        ledger.add(row.folder, person.number, **figures)
        told = {"reason": output.reason, **figures}
        ledger.records.append(_record(row.folder, person, (place,), told))
    for i, j in person.pairs:
        if before[i].original is None or before[j].original is None:
            continue  # as in the rows of the input: the pair cannot match there, either
        a, b = measured[i], measured[j]
        figures = {}
        if a is not None and b is not None:
            figures = _pair_figures(row, (a.described, b.described), (before[i], before[j]), tools)
        for matcher in tools.matchers:
            # Nobody can be followed from one photograph to another that is not there.
            match = figures.get(f"within/{matcher.name}", 0.0)
            figures[f"within_all/{matcher.name}"] = match
        ledger.add(row.folder, person.number, **figures)
        ledger.records.append(_record(row.folder, person, (i, j), figures))


def _photo_figures(
    before: _Before, output: Produced, found: Measured | None, tools: Instruments
) -> dict[str, float]:
    """What a row says of one photograph; without an output little more than that."""
    figures = {"written": float(output.image is not None)}
    if output.seconds:
        figures["seconds"] = output.seconds
    for stage, spent in dict(output.report.get("milliseconds", {})).items():
        figures[f"ms/{stage}"] = float(spent)
    if before.original is None:
        return figures
    for matcher in tools.matchers:
        hit = found is not None and found.figures[f"cosine/{matcher.name}"] <= matcher.threshold
        figures[f"protected/{matcher.name}"] = float(hit)
        if found is not None:
            figures[f"deidentified/{matcher.name}"] = float(hit)
    return figures | dict(found.figures if found is not None else {})


def _pair_figures(
    row: Row,
    after: tuple[Described, Described],
    before: tuple[_Before, _Before],
    tools: Instruments,
) -> dict[str, float]:
    """Whether two outputs of one person match, beside how their originals do."""
    figures: dict[str, float] = {}
    originals = [one.described for one in before if one.described is not None]
    for matcher in tools.matchers:
        name = matcher.name
        figures |= _pair(after[0].embeddings, after[1].embeddings, matcher)
        was = _pair(originals[0].embeddings, originals[1].embeddings, matcher)
        figures[f"offset/{name}"] = figures[f"distance/{name}"] - was[f"distance/{name}"]
        if all(row.keep in one.masked for one in (*after, *originals)):
            hidden = _pair(after[0].masked[row.keep], after[1].masked[row.keep], matcher)
            was = _pair(originals[0].masked[row.keep], originals[1].masked[row.keep], matcher)
            hidden[f"offset/{name}"] = hidden[f"distance/{name}"] - was[f"distance/{name}"]
            figures |= {f"{key}/{row.keep}": value for key, value in hidden.items()}
    return figures


def _pair(first: Embeddings, second: Embeddings, matcher: Matcher) -> dict[str, float]:
    """Cosine, match and Euclidean distance of two embeddings of unit length."""
    a, b = first[matcher.name], second[matcher.name]
    cosine = float(a @ b)
    return {
        f"pair_cosine/{matcher.name}": cosine,
        f"within/{matcher.name}": float(cosine > matcher.threshold),
        f"distance/{matcher.name}": float(np.linalg.norm(a - b)),
    }


def _record(
    row: str, person: Person, places: tuple[int, ...], figures: Mapping[str, object]
) -> dict[str, object]:
    photos = [place + 1 for place in places]
    told = {
        name: value
        for name, value in figures.items()
        if not isinstance(value, float) or np.isfinite(value)  # JSON has no NaN
    }
    return {"row": row, "person": person.number, "photos": photos, **told}
