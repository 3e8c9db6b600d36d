"""The plot of a page: how far every output is from its original, as text of an SVG."""

import io
from typing import Any

from vera.page.read import OutputFolder, missing_extra
from vera.page.summary import judges, nearest

# Painted with, then replaced by what CSS calls the colour of the text around: the plot follows the
# page into the dark.
_INK = "#010203"
_SAFE, _BEYOND, _LIMIT = "#2b78c2", "#c26a00", "#c22b2b"
_WIDTH, _PANEL_HEIGHT = 9.0, 2.3


def distances(folder: OutputFolder) -> str | None:
    """One dot per photograph, one panel per recogniser, against the thresholds.

    Returns:
        An ``<svg>`` element without a date or random names; None if no face was measured.

    Raises:
        UsageError: The extra ``report`` is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra(error) from error
    panels = [
        (name or "VerA's own embedder", points)
        for name in (None, *judges(folder))
        if (points := _points(folder, name))
    ]
    if not panels:
        return None
    style: dict[Any, Any] = {"svg.hashsalt": "vera", "svg.fonttype": "none", "font.size": 9}
    for ink in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"):
        style[ink] = _INK
    with matplotlib.rc_context(style):
        figure = Figure((_WIDTH, _PANEL_HEIGHT * len(panels)), layout="constrained")
        figure.patch.set_alpha(0)
        grid = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
        for axes, (name, points) in zip(grid, panels, strict=True):
            _draw(axes, name, points)
        grid[-1].set_xlabel("number of the photograph on this page")
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _points(folder: OutputFolder, judge: str | None) -> list[tuple[int, float, float]]:
    """Place on the page from 1, cosine and threshold of each photograph that was measured."""
    return [
        (place, *measured)
        for place, output in enumerate(folder.outputs, 1)
        if (measured := nearest(output, judge)) is not None
    ]


def _draw(axes: Any, name: str, points: list[tuple[int, float, float]]) -> None:
    axes.patch.set_alpha(0)
    axes.set_title(name, loc="left", fontsize=9)
    axes.set_ylabel("cosine")
    for colour, marker, label, shown in (
        (_SAFE, "o", "below the limit", [p for p in points if p[1] < p[2]]),
        (_BEYOND, "X", "at or above it", [p for p in points if p[1] >= p[2]]),
    ):
        if shown:
            places, cosines = [p[0] for p in shown], [p[1] for p in shown]
            axes.scatter(places, cosines, s=18, c=colour, marker=marker, label=label)
    places, limits = [p[0] for p in points], [p[2] for p in points]
    axes.hlines(limits, [p - 0.5 for p in places], [p + 0.5 for p in places], _LIMIT, label="limit")
    # The same for every folder, so that a small distance does not look like a large one.
    axes.set_ylim(min(-0.1, *(p[1] - 0.05 for p in points)), 1.0)
    axes.locator_params(axis="x", integer=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
