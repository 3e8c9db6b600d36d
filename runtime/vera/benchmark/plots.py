"""Plots of a record: throughput and latency over clients, the latencies, the stages."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vera.benchmark.quantiles import Interval
from vera.benchmark.record import Record, Run
from vera.benchmark.tables import load_cell
from vera.files.write import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[int, Interval]  # clients, and a figure


def write_plots(folder: Path, record: Record) -> list[Path]:
    """Writes the plots that have something to show.

    Args:
        folder: Exists.
        record: What was found.

    Returns:
        The files.

    Raises:
        OutputError: A file cannot be written.
    """
    written = []
    for name, draw in (("sweep", _sweep), ("latency", _latency), ("stages", _stages)):
        figure = draw(record)
        if figure is not None:
            encoded = io.BytesIO()
            figure.savefig(encoded, format="png", dpi=150, metadata={"Software": None})
            written.append(folder / f"{name}.png")
            write_bytes(written[-1], encoded.getvalue())
    return written


def sweep_points(
    runs: Sequence[Run], figure: Callable[[Run], Interval | None]
) -> Mapping[str, list[Point]]:
    """Per target the figure over the clients of the sweep, ascending."""
    found: dict[str, list[Point]] = {}
    for run in runs:
        value = figure(run)
        if run.scenario == "sweep" and run.clients is not None and value is not None:
            found.setdefault(run.target, []).append((run.clients, value))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items()}


def _sweep(record: Record) -> "Figure | None":
    throughput = sweep_points(record.runs, lambda run: run.throughput.scaled(60))
    latency = sweep_points(record.runs, lambda run: run.latency.get("p50"))
    if not throughput:
        return None
    figure, (left, right) = _panels(2)
    _lines(left, throughput, "cases a minute")
    _lines(right, latency, "median latency, s")
    left.legend(fontsize=7)
    return figure


def _lines(axes: "Axes", series: Mapping[str, list[Point]], label: str) -> None:
    for number, (name, points) in enumerate(series.items()):
        clients = [at for at, _ in points]
        values = [value.value for _, value in points]
        axes.plot(clients, values, marker="osD^v"[number % 5], color=f"C{number}", label=name)
        if all(value.low is not None and value.high is not None for _, value in points):
            low, high = [v.low or 0.0 for _, v in points], [v.high or 0.0 for _, v in points]
            axes.fill_between(clients, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
    everywhere = sorted({at for points in series.values() for at, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(everywhere, [str(at) for at in everywhere])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=7)


def _latency(record: Record) -> "Figure | None":
    """Distribution of the latencies of every load."""
    filled = [run for run in record.runs if len(run.latencies) > 1]
    if not filled:
        return None
    figure, (axes,) = _panels(1, width=6.0)
    for number, run in enumerate(filled):
        ordered = sorted(run.latencies)
        shares = [(i + 1) / len(ordered) for i in range(len(ordered))]
        label = f"{run.scenario}, {run.target}, {load_cell(run)}"
        axes.step(ordered, shares, where="post", color=f"C{number % 10}", label=label)
    axes.set_xlabel("latency, s", fontsize=8)
    axes.set_ylabel("share of the completed cases", fontsize=8)
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _stages(record: Record) -> "Figure | None":
    if record.stages is None:
        return None
    figure, (axes,) = _panels(1, width=6.0)
    names = list(record.stages.stages)
    values = [1000 * record.stages.stages[name].value for name in names]
    axes.barh(names, values, color="C0")
    axes.invert_yaxis()
    axes.set_xlabel("ms of a case", fontsize=8)
    axes.tick_params(labelsize=7)
    return figure


def _panels(count: int, width: float = 4.0) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, 3.0), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False).ravel())
