"""The written results: report.md, tables/*.csv and figures.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vera.evaluation.facts import Facts
from vera.evaluation.ledger import Ledger
from vera.evaluation.rows import Row
from vera.evaluation.table import Table, shown
from vera.files.write import prepare_folder, write_text

# Raised when a field changes its meaning or goes away.
FIGURES_FORMAT = 1

_INTERVALS = (
    "Square brackets hold 95 % intervals: percentile bootstrap, resampled by person, because "
    "photographs of one person are not independent. Where all of a rate's values are equal, the "
    "interval is the exact one of Clopper and Pearson over the people."
)


def write_results(
    folder: Path, facts: Facts, rows: Sequence[Row], tables: Sequence[Table], ledger: Ledger
) -> None:
    """Writes the tables and the machine-readable figures.

    Raises:
        OutputError: A file cannot be written.
    """
    prepare_folder(folder / "tables")
    for table in tables:
        write_text(folder / "tables" / f"{table.name}.csv", table.csv())
    figures = {
        "format": FIGURES_FORMAT,
        **asdict(facts),
        "rows": [{**asdict(row), "key": row.folder} for row in rows],
        "estimates": {row: _estimates(ledger, row) for row in ledger.rows()},
        "reasons": {row: dict(counts) for row, counts in ledger.reasons.items()},
        "tables": {table.name: _plain(table) for table in tables},
        "records": ledger.records,
    }
    text = json.dumps(figures, indent=1, default=_number, allow_nan=False)
    write_text(folder / "figures.json", text)


def write_report(
    folder: Path, facts: Facts, tables: Sequence[Table], plots: Sequence[Path]
) -> None:
    """Writes report.md, which names the plots.

    Raises:
        OutputError: It cannot be written.
    """
    parts = [_head(facts), *(table.markdown() for table in tables)]
    if plots:
        parts.append("## Plots\n")
        parts += [f"![{path.stem}]({path.relative_to(folder)})\n" for path in plots]
    write_text(folder / "report.md", "\n".join(parts))


def _head(facts: Facts) -> str:
    people, machine, bundle = facts.people, facts.machine, facts.bundle
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    settings = ", ".join(f"{name} {_told(value)}" for name, value in facts.settings.items())
    lines = [
        "# Evaluation",
        "",
        f"{people['photographs']} photographs of {people['people']} people; "
        f"{people['pairs']} pairs of {people['people_with_pairs']} people. Made by `vera evaluate` "
        "from that folder alone: figures of other photographs may differ.",
        "",
        f"- Date: {facts.date}",
        f"- Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}",
        f"- Bundle: {bundle['name']} {bundle['version']}",
        f"- Versions: {versions}",
        f"- Settings: {settings}",
        "",
        *(f"**{note}**\n" for note in facts.notes),
        _INTERVALS,
        "",
        "## Matchers",
        "",
        "Two faces match if their cosine is above the threshold.",
        "",
        "| matcher | sha256 | threshold | false accept | from | standing |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in facts.matchers:
        rate = "not known" if one["false_accept_rate"] is None else one["false_accept_rate"]
        cells = [one["label"], one["sha256"], shown(float(one["threshold"])), shown(rate)]
        cells += [one["calibration"], one["role"]]
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _told(value: Any) -> str:
    """A setting: None is the built-in one, an empty list is none."""
    if value is None:
        return "built-in"
    return ("+".join(value) or "none") if isinstance(value, tuple) else str(value)


def _estimates(ledger: Ledger, row: str) -> dict[str, Any]:
    found = {name: ledger.estimate(row, name) for name in ledger.names(row)}
    return {name: asdict(value) for name, value in found.items() if value is not None}


def _plain(table: Table) -> dict[str, Any]:
    cells = [
        [cell if isinstance(cell, str | int | float | None) else asdict(cell) for cell in row]
        for row in table.rows
    ]
    return {"columns": table.columns, "rows": cells}


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no figure")
