"""Figures as plotly has them, without colours: the page's script takes those from the style sheet, for light and dark.

Traces name their model in ``meta``; marks of drift are shapes with a name. Text is escaped, for plotly reads some tags.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from replay.html.cells import Cells
from replay.html.marks import Mark

# Enough to tell two figures apart; what is shorter in the file is quicker on a phone.
_DIGITS = 4


def new_figure(x: str | None = None, *, from_zero: bool = True, log: bool = False) -> go.Figure:
    """Return an empty figure; time runs along x unless ``x`` names something else; from_zero, log: of the vertical axis."""
    figure = go.Figure()
    horizontal = {"type": "date", "hoverformat": "%d %b %Y %H:%M"} if x is None else {"title": {"text": escape(x)}}
    vertical = {
        "type": "log" if log else "linear",
        "rangemode": "tozero" if from_zero else "normal",
    }
    figure.update_layout(template="none", showlegend=False, xaxis=horizontal, yaxis=vertical)
    return figure


def rounded(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Return values as a file keeps them; None, which plotly leaves out, where they are not finite."""
    return [round(float(value), _DIGITS) if np.isfinite(value) else None for value in values]


def moments(times_ms: np.ndarray) -> list[int]:
    """Return times as plotly takes them: ms UTC."""
    return [int(time) for time in times_ms]


def add_line(figure: go.Figure, model: str, x: Sequence[float], y: np.ndarray, told: str, more: np.ndarray | None = None) -> None:
    """Add a model's line through (x, y), each (T,); ``told`` is its hover text, over ``y`` and columns of ``more`` (T, k)."""
    figure.add_scatter(
        x=x, y=rounded(y), customdata=None if more is None else [rounded(row) for row in more], name=escape(model),
        mode="lines" if len(x) > 1 else "markers", meta={"model": model, "role": "line"}, hovertemplate=told + "<extra></extra>",
    )  # fmt: skip


def add_band(figure: go.Figure, model: str, x: Sequence[int], low: np.ndarray, high: np.ndarray) -> None:
    """Add a model's interval around its line: low and high, each (T,)."""
    known = np.isfinite(low) & np.isfinite(high)
    along = [at for at, here in zip(x, known, strict=True) if here]
    figure.add_scatter(
        x=[*along, *reversed(along)], y=rounded([*low[known], *high[known][::-1]]), fill="toself", mode="none", hoverinfo="skip",
        meta={"model": model, "role": "band"},
    )  # fmt: skip


def metric_over_time(cells: Cells, metric: str, marks: Sequence[Mark], *, small: bool = False) -> go.Figure:
    """Draw every model's mean over events by bucket, in percent, with its 95 % interval unless the chart is ``small``."""
    figure = new_figure()
    x, means, (low, high) = moments(cells.starts_ms), 100 * cells.means(metric), cells.intervals(metric)
    for row, model in enumerate(cells.models):
        bounds = 100 * np.stack([low[row], high[row]], axis=1)
        if not small:
            add_band(figure, model, x, bounds[:, 0], bounds[:, 1])
        told = f"{escape(model)} %{{y:.2f}} [%{{customdata[0]:.2f}}, %{{customdata[1]:.2f}}] of %{{customdata[2]:,}} events"
        add_line(figure, model, x, means[row], told, np.column_stack([bounds, cells.n[row]]))
    add_marks(figure, marks, labels=not small)
    return figure


def add_marks(figure: go.Figure, marks: Sequence[Mark], *, labels: bool = True) -> None:
    """Mark drifts: a line where one starts, with its label where there is room, and a shade as long as it passes.

    What stays to the end has no shade: it would say the same as the line, and hide what is drawn over it.
    """
    for mark in marks:
        for start, end, level in mark.passing:
            figure.add_shape(type="rect", x0=start, x1=end, y0=0, y1=1, yref="paper", layer="below", opacity=level, name="shade")
        figure.add_shape(type="line", x0=mark.start_ms, x1=mark.start_ms, y0=0, y1=1, yref="paper", layer="between", name="start")
        if labels:
            figure.add_annotation(
                x=mark.start_ms, y=1, yref="paper", yanchor="bottom", text=escape(mark.label), showarrow=False, name="drift"
            )
