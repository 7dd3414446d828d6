"""Ratios and differences as points with intervals, one below the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, log10, nan

import plotly.graph_objects as go

from replay.html.drawing import new_figure, rounded
from replay.html.parts import Cell, Chart, Table, interval_cell, number_cell, rows_of, text_cell
from replay.results import Ratio

_ROW_PIXELS = 46
# A ratio so many times the first would squeeze all others into one place.
_BEYOND = 3.0
_MOST_TICKS = 5
_TICKS = (
    (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3),
    (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0),
    (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
    (0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0),
)


@dataclass(frozen=True)
class Point:
    """A value with its interval; low and high equal it where no interval is known.

    beyond: the scale does not reach it; text: what is written beside it in place of the value.
    """

    name: str
    value: float
    low: float
    high: float
    beyond: bool = False
    text: str | None = None


def ratio_chart(id: str, ratios: Sequence[Ratio]) -> Chart:
    """Draw ratios around 1, on a scale on which twice and half lie equally far from it."""
    points = [_point(ratio, ratio.ratio > _BEYOND * max(ratios[0].ratio, 1.0)) for ratio in ratios]
    low, high = _ends([point for point in points if not point.beyond])
    metric, subject = ratios[0].metric.upper(), ratios[0].numerator
    figure = points_figure(points, even=1.0, digits=3, edge=high * (low / high) ** 0.02)
    figure.update_xaxes(type="log", range=[log10(low), log10(high)], tickvals=_ticks(low, high))
    table = Table(
        f"{subject} divided by each model, {metric}",
        ("model", "ratio [95\u00a0%]", "blocks", "windows a block"),
        rows_of([_row(ratio, point) for ratio, point in zip(ratios, points, strict=True)]),
    )
    about = "Right of the line at 1 the adapted model ranks better. Bars are 95 % intervals."
    if any(point.beyond for point in points):
        about += " A triangle is a ratio beyond the scale."
    return Chart(id, f"{subject} / model", metric, about, {"": figure}, table, height=points_height(len(points)))


def points_figure(points: Sequence[Point], even: float, digits: int, edge: float = 0.0) -> go.Figure:
    """Draw values with their intervals, a row each, the first on top, and a line at ``even``; those beyond at ``edge``."""
    figure = new_figure("", from_zero=False)
    figure.add_shape(type="line", x0=even, x1=even, y0=0, y1=1, yref="paper", name="even")
    shown = [point.text or f"{point.value:.{digits}f}" for point in points]
    told = [f"[{point.low:.{digits}f}, {point.high:.{digits}f}]" if point.low < point.high else "" for point in points]
    figure.add_scatter(
        x=rounded([edge if point.beyond else point.value for point in points]), y=[escape(point.name) for point in points],
        mode="markers+text", meta={"role": "estimate"}, text=shown,
        textposition=["middle left" if point.beyond else "top center" for point in points],
        marker={"symbol": ["triangle-right" if point.beyond else "circle" for point in points]},
        error_x={
            "type": "data", "symmetric": False,
            "array": rounded([nan if point.beyond else point.high - point.value for point in points]),
            "arrayminus": rounded([nan if point.beyond else point.value - point.low for point in points]),
        },
        customdata=told, hovertemplate="%{y} %{text} %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(hovermode="closest")
    return figure


def points_height(rows: int) -> int:
    """Return how many pixels a figure of so many rows takes."""
    return 90 + _ROW_PIXELS * rows


def _point(ratio: Ratio, beyond: bool) -> Point:
    known = ratio.blocks > 1 and isfinite(ratio.high) and ratio.low > 0
    low, high = (ratio.low, ratio.high) if known else (ratio.ratio, ratio.ratio)
    return Point(ratio.denominator, ratio.ratio, low, high, beyond)


def _row(ratio: Ratio, point: Point) -> list[Cell]:
    bounds = (point.low, point.high) if point.low < point.high else (nan, nan)
    counts = (number_cell(count, "{:,.0f}") for count in (ratio.blocks, ratio.block))
    return [text_cell(ratio.denominator), interval_cell(ratio.ratio, *bounds, digits=3), *counts]


def _ends(points: Sequence[Point]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis that holds intervals and 1, both with room."""
    # Nothing, which a logarithmic axis has no place for, is told by its text alone.
    low, high = min([1.0, *(point.low for point in points if point.low > 0)]), max([1.0, *(point.high for point in points)])
    room = max(high / low, 1.01) ** 0.06
    return low / room, high * room


def _ticks(low: float, high: float) -> list[float]:
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in _TICKS]
    return next((few for few in inside if len(few) <= _MOST_TICKS), inside[-1])
