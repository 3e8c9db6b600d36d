"""Plots of the cosines: output to original, within pairs, and the trade-off of the two."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vera.evaluation.ledger import INPUT, Ledger
from vera.evaluation.matchers import Matcher
from vera.evaluation.rows import Row
from vera.evaluation.statistics import Estimate
from vera.files.write import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = np.linspace(-1, 1, 61)
_COLUMNS = 3
_GREY = "0.6"
_MARKERS = "osD^vP*Xhd<>"


def draw_plots(
    folder: Path, rows: Sequence[Row], matchers: Sequence[Matcher], ledger: Ledger
) -> list[Path]:
    """Writes the plots of every matcher; plots without values are left out.

    Args:
        folder: Exists; files are named by the place of the matcher.
        rows: The rows.
        matchers: The matchers.
        ledger: What was measured.

    Returns:
        The files, in the order of the report.

    Raises:
        OutputError: A file cannot be written.
    """
    written = []
    for number, matcher in enumerate(matchers, 1):
        for name, draw in (
            ("originals", _to_originals),
            ("pairs", _within_pairs),
            ("trade-off", _trade_off),
        ):
            figure = draw(rows, matcher, ledger)
            if figure is not None:
                path = folder / f"{number}_{name}.png"
                write_bytes(path, _png(figure))
                written.append(path)
    return written


def _to_originals(rows: Sequence[Row], matcher: Matcher, ledger: Ledger) -> "Figure | None":
    return _histograms(
        rows,
        matcher,
        ledger,
        name=f"cosine/{matcher.name}",
        title=f"Cosine of output and original, {matcher.label}",
        label="outputs",
    )


def _within_pairs(rows: Sequence[Row], matcher: Matcher, ledger: Ledger) -> "Figure | None":
    return _histograms(
        rows,
        matcher,
        ledger,
        name=f"pair_cosine/{matcher.name}",
        title=f"Cosine of two outputs of one person, {matcher.label}",
        label="pairs of outputs",
    )


def _histograms(
    rows: Sequence[Row], matcher: Matcher, ledger: Ledger, *, name: str, title: str, label: str
) -> "Figure | None":
    """One panel per row: its cosines, those of the input pairs behind, and the threshold."""
    filled = [row for row in rows if len(ledger.values(row.folder, name))]
    if not filled:
        return None
    figure, panels = _panels(len(filled))
    genuine = ledger.values(INPUT, f"pair_cosine/{matcher.name}")
    for row, axes in zip(filled, panels, strict=False):
        if len(genuine):
            _histogram(axes, genuine, color=_GREY, label="pairs of originals")
        values = ledger.values(row.folder, name)
        _histogram(axes, values, color="tab:blue", label=label)
        axes.axvline(matcher.threshold, color="tab:red", linewidth=1, label="threshold")
        axes.set_title(f"{row.name}, {row.mode} (n = {len(values)})", fontsize=8)
        axes.set_xlim(-0.5, 1)
        axes.tick_params(labelsize=7)
    panels[0].legend(fontsize=6, loc="upper left")
    figure.suptitle(title, fontsize=10)
    figure.supxlabel("cosine", fontsize=8)
    figure.supylabel("share", fontsize=8)
    return figure


def _histogram(axes: "Axes", values: npt.NDArray[np.float64], *, color: str, label: str) -> None:
    counts, edges = np.histogram(values, _BINS)
    axes.stairs(counts / len(values), edges, fill=True, color=color, alpha=0.6, label=label)


def _trade_off(rows: Sequence[Row], matcher: Matcher, ledger: Ledger) -> "Figure | None":
    """De-identification against match within pairs: good is at the top right."""
    points = []
    for row in rows:
        x = ledger.estimate(row.folder, f"protected/{matcher.name}")
        y = ledger.estimate(row.folder, f"within_all/{matcher.name}")
        if x is not None and y is not None:
            points.append((row, x.scaled(100), y.scaled(100)))
    if not points:
        return None
    figure, (axes,) = _panels(1, width=6.0, height=4.5)
    for place, (row, x, y) in enumerate(points):
        axes.errorbar(
            x.mean,
            y.mean,
            xerr=_ends(x),
            yerr=_ends(y),
            fmt=_MARKERS[place % len(_MARKERS)],
            color=f"C{place % 10}",
            markersize=5,
            elinewidth=0.5,
            label=f"{row.name}, {row.mode}",
        )
    reference = ledger.estimate(INPUT, f"within/{matcher.name}")
    if reference is not None:
        axes.axhline(100 * reference.mean, color=_GREY, linestyle="--", label="pairs of originals")
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("de-identified, % of all photographs with a face", fontsize=8)
    axes.set_ylabel("pairs whose outputs match, % of all pairs", fontsize=8)
    axes.set_title(f"Protection and one person within pairs, {matcher.label}", fontsize=10)
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _ends(value: Estimate) -> list[list[float]] | None:
    if value.low is None or value.high is None:
        return None
    return [[max(0.0, value.mean - value.low)], [max(0.0, value.high - value.mean)]]


def _panels(count: int, width: float = 3.0, height: float = 2.0) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, count)
    lines = -(-count // columns)
    size = (width * columns, height * lines + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=count > 1, sharey=count > 1)
    panels = list(grid.ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels


def _png(figure: "Figure") -> bytes:
    import io

    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=150, metadata={"Software": None})
    return encoded.getvalue()
