"""A table and its two forms, CSV and Markdown."""

import csv
import io
from dataclasses import dataclass

from vera.evaluation.statistics import Estimate

Cell = str | int | float | Estimate | None
_FIGURES = "{:.4g}"


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: Stem of its file.
        title: Above it in the report.
        note: What its figures mean, as Markdown.
        columns: Headings.
        rows: One cell per column.
    """

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> str:
        """As CSV; an estimate takes the columns mean, low, high, values and people."""
        wide = [
            any(isinstance(row[place], Estimate) for row in self.rows)
            for place in range(len(self.columns))
        ]
        header: list[str] = []
        for column, several in zip(self.columns, wide, strict=True):
            ends = ("", " low", " high", " values", " people") if several else ("",)
            header += [column + end for end in ends]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for row in self.rows:
            cells: list[Cell] = []
            for cell, several in zip(row, wide, strict=True):
                cells += _spread(cell) if several else [cell]
            writer.writerow(["" if cell is None else cell for cell in cells])
        return text.getvalue()

    def markdown(self) -> str:
        """As a Markdown table with its title and note."""
        lines = [f"## {self.title}", "", self.note, ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + " --- |" * len(self.columns))
        lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def shown(cell: Cell) -> str:
    """A cell as text: an estimate with its interval, nothing as a dash."""
    if cell is None:
        return "-"
    if isinstance(cell, Estimate):
        if cell.low is None or cell.high is None:
            return _FIGURES.format(cell.mean)
        ends = (_FIGURES.format(end) for end in (cell.low, cell.high))
        return f"{_FIGURES.format(cell.mean)} [{', '.join(ends)}]"
    return _FIGURES.format(cell) if isinstance(cell, float) else str(cell)


def _spread(cell: Cell) -> list[Cell]:
    if isinstance(cell, Estimate):
        return [cell.mean, cell.low, cell.high, cell.count, cell.people]
    return [cell, None, None, None, None]
