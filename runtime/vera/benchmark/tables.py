"""The figures as tables for a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from vera.benchmark.compare import Comparison
from vera.benchmark.quantiles import SAMPLES_NEEDED, Interval, share_limit
from vera.benchmark.record import Record, Run

if TYPE_CHECKING:
    from rich.table import Table

_NONE = "-"
_SMALLEST = 0.001  # shown in figures
_WIDTH = 240  # of a file or pipe, where rich would wrap at 80


def write_tables(record: Record, comparisons: Sequence[Comparison], file: TextIO) -> None:
    """Writes all tables of a record, and those of its targets against the first."""
    _write([*tables(record), *ratio_tables(comparisons)], file)


def write_comparisons(
    comparisons: Sequence[Comparison], differences: Sequence[str], file: TextIO
) -> None:
    """Writes what two records differ in."""
    for sentence in differences:
        file.write(f"note: {sentence}\n")
    _write(list(ratio_tables(comparisons)), file)


def tables(record: Record) -> Iterator["Table"]:
    """The tables of a record that have a row."""
    makers = (_loads, _split, _accuracy, _stages, _engines, _agreement, _cold, _memory)
    for table in (maker(record) for maker in makers):
        if table.row_count:
            yield table


def load_cell(run: Run) -> str:
    """How much was asked."""
    return f"{run.clients} at a time" if run.clients else f"{run.rate or 0:.3g} a second"


def quantile_cell(run: Run, name: str) -> str:
    """Seconds with their interval, or why there are none."""
    if run.completed < SAMPLES_NEEDED[int(name[1:])]:
        return f"n < {SAMPLES_NEEDED[int(name[1:])]}"
    return interval_cell(run.latency.get(name))


def interval_cell(value: Interval | None) -> str:
    """A figure with its interval in brackets, or the range of its few samples in parentheses."""
    if value is None:
        return _NONE
    text = figure_cell(value.value)
    if value.low is not None and value.high is not None:
        return f"{text} [{figure_cell(value.low)}, {figure_cell(value.high)}]"
    if value.least is not None and value.most is not None:
        return f"{text} ({figure_cell(value.least)} to {figure_cell(value.most)})"
    return text


def figure_cell(value: float) -> str:
    """Three digits, and no exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if 0 < abs(value) < _SMALLEST:
        return f"< {_SMALLEST}"
    return f"{value:.3g}"


def _loads(record: Record) -> "Table":
    table = _table(
        "Loads (latencies in s; [95 % interval], or of few samples their range)",
        *("scenario", "target", "load", "in flight", "done", "rejected", "late", "failed"),
        *("p50", "p90", "p95", "p99", "slowest", "a minute", "bound"),
    )
    for run in record.runs:
        load = load_cell(run)
        table.add_row(
            *(run.scenario, run.target, load, str(run.most_in_flight)),
            f"{run.completed}/{run.queries}",
            *(str(run.rejected), str(run.expired), str(run.failed)),
            *(quantile_cell(run, name) for name in ("p50", "p90", "p95", "p99")),
            _NONE if run.slowest is None else figure_cell(run.slowest),
            interval_cell(run.throughput.scaled(60)),
            _bound(run),
        )
    return table


def _bound(run: Run) -> str:
    """Share of the queries within the bound, and how large that of the late ones may be."""
    if run.bound_s is None or run.within is None:
        return _NONE
    late = share_limit(round((1 - run.within) * run.queries), run.queries)
    verdict = "held" if run.held else "missed"
    return f"{verdict}: {100 * run.within:.1f} % in {run.bound_s:.3g} s (late < {100 * late:.1f} %)"


def _split(record: Record) -> "Table":
    table = _table(
        "Waiting and work (s)",
        *("scenario", "target", "load", "waited p50", "waited p90", "worked p50", "worked p90"),
        "cases in work, mean",
    )
    for run in record.runs:
        if run.queue is None or run.work is None:
            continue
        load = load_cell(run)
        table.add_row(
            *(run.scenario, run.target, load),
            *(interval_cell(run.queue.get(name)) for name in ("p50", "p90")),
            *(interval_cell(run.work.get(name)) for name in ("p50", "p90")),
            _NONE if run.in_work is None else f"{run.in_work:.2f}",
        )
    return table


def _accuracy(record: Record) -> "Table":
    table = _table(
        "What came out meanwhile",
        *("scenario", "target", "load", "photos refused", "steps", "final loss"),
        *("largest gate cosine", "kept pixels differ by"),
    )
    for run in record.runs:
        load = load_cell(run)
        found = run.accuracy
        table.add_row(
            *(run.scenario, run.target, load, str(found.photos_refused), f"{found.steps:.1f}"),
            _NONE if found.loss is None else f"{found.loss:.4f}",
            _NONE if found.cosine is None else f"{found.cosine:.3f}",
            str(found.kept_difference),
        )
    return table


def _stages(record: Record) -> "Table":
    table = _table("Stages of a case alone (ms)", "stage", "mean", "share")
    if record.stages is not None:
        total = record.stages.total.value or 1.0
        for name, spent in record.stages.stages.items():
            told = interval_cell(spent.scaled(1000))
            if name == "inversion" and record.stages.step is not None:
                step = interval_cell(record.stages.step.scaled(1000))
                told += f" = {record.stages.steps:.1f} steps of {step}"
            table.add_row(name, told, f"{100 * spent.value / total:.1f} %")
        table.add_row("whole case", interval_cell(record.stages.total.scaled(1000)), "100 %")
    return table


def _engines(record: Record) -> "Table":
    table = _table("Engines in these stages (ms)", "engine", "mean", "calls")
    if record.stages is not None:
        for name, spent in record.stages.engines.items():
            calls = f"{record.stages.calls[name]:.1f}"
            table.add_row(name, interval_cell(spent.scaled(1000)), calls)
    return table


def _agreement(record: Record) -> "Table":
    columns = ("target", "pictures", "equal", "largest difference", "mean difference")
    title = "Results against the first target's (grey levels of 255)"
    table = _table(title, *columns, "final losses", "allowed")
    for one in record.agreement:
        figures = (one.pictures, one.equal, one.largest)
        shares = (f"{100 * share:.2g} %" for share in (one.loss, one.allowed))
        table.add_row(one.target, *map(str, figures), f"{one.mean:.3g}", *shares)
    return table


def _cold(record: Record) -> "Table":
    columns = ("target", "processes", "to the first result", "starting", "opening", "first case")
    table = _table("Cold start (s)", *columns, "peak GB")
    for one in record.cold_starts:
        figures = (one.total, one.starting, one.opening, one.first)
        peak = f"{one.peak_bytes / 1e9:.2f}"
        table.add_row(one.target, str(one.runs), *map(interval_cell, figures), peak)
    return table


def _memory(record: Record) -> "Table":
    columns = ("after", "queries", "this process, peak", "server now", "server, peak at most")
    table = _table("Memory (GB)", *columns)
    for mark in record.memory:
        held = (mark.memory.process_peak, mark.memory.server, mark.memory.server_peak)
        told = (_NONE if size is None else f"{size / 1e9:.3f}" for size in held)
        table.add_row(mark.after, str(mark.queries), *told)
    return table


def ratio_tables(comparisons: Sequence[Comparison]) -> Iterator["Table"]:
    """One table of ratios, if there is any."""
    if not comparisons:
        return
    columns = ("load", "target", "against", "p50", "p90", "p95", "p99", "throughput")
    table = _table("Ratios (latency below 1 is faster, throughput above 1 is more)", *columns)
    for one in comparisons:
        cells = (interval_cell(one.latency.get(name)) for name in ("p50", "p90", "p95", "p99"))
        table.add_row(one.load, one.other, one.one, *cells, interval_cell(one.throughput))
    yield table


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _write(found: Sequence["Table"], file: TextIO) -> None:
    from rich.console import Console

    console = Console(file=file, width=None if file.isatty() else _WIDTH, highlight=False)
    for table in found:
        console.print(table)
