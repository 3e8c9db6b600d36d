"""What a study found, for people (Markdown) and machines (JSON)."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations

from vera.errors import UsageError
from vera.rating.agreement import RESAMPLES, Agreement, Estimate, compare
from vera.rating.answers import Answers, Key
from vera.rating.scale import Scale

_FORMAT = 1
_SHOWN = {"anonymized": "anonymised photograph", "original-region": "kept region of the original"}


def agreements(key: Key, answers: Sequence[Answers]) -> tuple[Agreement, ...]:
    """Every comparison that the answers allow: rater with rater, and condition with condition.

    Raises:
        UsageError: They allow none.
    """
    told = [_by_output(key, one) for one in answers]
    found = []
    for kind, shown in _SHOWN.items():
        for (first, a), (second, b) in combinations(zip(answers, told, strict=True), 2):
            pairs = [(key_case, a[at], b[at]) for at, key_case in _cases(key, kind) if at in a]
            if pairs:
                found.append(_compare(key.scale, pairs, _rater(first), _rater(second), shown))
    region, whole = _SHOWN["original-region"], _SHOWN["anonymized"]
    everybody: list[tuple[str, int, int]] = []
    for one, by_output in zip(answers, told, strict=True):
        pairs = [
            (case, by_output[output, "original-region"], by_output[output, "anonymized"])
            for (output, _), case in _cases(key, "original-region")
        ]
        everybody += pairs
        if pairs:
            found.append(_compare(key.scale, pairs, region, whole, _rater(one)))
    if everybody and len(answers) > 1:
        found.append(_compare(key.scale, everybody, region, whole, "all raters together"))
    if not found:
        raise UsageError(
            "There is nothing to compare: one rater saw each photograph once; give the answers of "
            "a second rater."
        )
    return tuple(found)


def to_json(scale: Scale, found: Sequence[Agreement]) -> str:
    """JSON with the fields of :class:`vera.rating.agreement.Agreement`."""
    content = {
        "vera_agreement": _FORMAT,
        "scale": {"values": scale.values, "ordered": scale.ordered},
        "comparisons": [asdict(agreement) for agreement in found],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def to_markdown(scale: Scale, found: Sequence[Agreement]) -> str:
    """A table of all comparisons, and each one's confusion table."""
    weightings = list(found[0].kappa)
    names = ["kappa" if w == "none" else f"kappa, {w} weights" for w in weightings]
    lines = ["# Agreement", ""]
    lines += _table(
        ["compared", "with", "on", "n", "cases", "equal", *(f"{n} (95 %)" for n in names)],
        [
            [
                *(_cell(text) for text in (one.first, one.second, one.shown)),
                str(one.n),
                str(one.cases),
                f"{one.agreed:.0%}",
                *(_estimate(one.kappa[w]) for w in weightings),
            ]
            for one in found
        ],
    )
    lines += ["", f"Intervals: {RESAMPLES} resamples of cases, percentiles."]
    for one in found:
        lines += ["", f"## {one.first} (rows), {one.second} (columns): {one.shown}", ""]
        values = [_cell(value) for value in scale.values]
        rows = [[v, *map(str, r)] for v, r in zip(values, one.table, strict=True)]
        lines += _table(["", *values], rows)
    return "\n".join(lines) + "\n"


def _by_output(key: Key, answers: Answers) -> dict[tuple[str, str], int]:
    return {
        (key.items[item].output, key.items[item].kind): value
        for item, value in answers.values.items()
    }


def _cases(key: Key, kind: str) -> list[tuple[tuple[str, str], str]]:
    """Every output of a condition with its case."""
    rows = (row for row in key.items.values() if row.kind == kind)
    return list({(row.output, kind): row.case for row in rows}.items())


def _compare(
    scale: Scale, pairs: list[tuple[str, int, int]], first: str, second: str, shown: str
) -> Agreement:
    return compare(
        pairs, len(scale.values), first=first, second=second, shown=shown, ordered=scale.ordered
    )


def _rater(answers: Answers) -> str:
    return f"rater {answers.rater}"


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not defined: one answer only"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} (one case: no interval)"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]
