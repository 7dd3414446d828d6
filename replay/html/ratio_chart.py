"""Ratios and differences as points with intervals, one below the other."""

from collections.abc import Sequence
from html import escape
from math import isfinite, log10

import plotly.graph_objects as go

from replay.html.drawing import new_figure, rounded
from replay.html.parts import Chart, Table, interval_cell, number_cell, rows_of, text_cell
from replay.results import Ratio

_ROW_PIXELS = 46
_TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def ratio_chart(id: str, ratios: Sequence[Ratio]) -> Chart:
    """Draw ratios around 1, on a scale on which twice and half lie equally far from it."""
    names = [ratio.denominator for ratio in ratios]
    known = [ratio.blocks > 1 and isfinite(ratio.high) and ratio.low > 0 for ratio in ratios]
    bounds = [(ratio.low, ratio.high) if here else (ratio.ratio, ratio.ratio) for ratio, here in zip(ratios, known, strict=True)]
    metric = ratios[0].metric.upper()
    subject = ratios[0].numerator
    figure = points_figure(names, [ratio.ratio for ratio in ratios], bounds, even=1.0)
    figure.update_xaxes(type="log", **_ticks(bounds))
    table = Table(
        f"{subject} divided by each model, {metric}",
        ("model", "ratio [95 %]", "blocks", "windows a block"),
        rows_of(
            [
                [
                    text_cell(ratio.denominator),
                    interval_cell(ratio.ratio, *((ratio.low, ratio.high) if here else (float("nan"),) * 2), digits=3),
                    number_cell(ratio.blocks, "{:,.0f}"),
                    number_cell(ratio.block, "{:,.0f}"),
                ]
                for ratio, here in zip(ratios, known, strict=True)
            ]
        ),
    )
    about = "Right of the line at 1 the adapted model ranks better. Bars are 95 % intervals."
    return Chart(id, f"{subject} / model", metric, about, {"": figure}, table, height=points_height(len(names)))


def points_figure(
    names: Sequence[str], values: Sequence[float], bounds: Sequence[tuple[float, float]], even: float, digits: int = 3
) -> go.Figure:
    """Draw values with their bounds (low, high), a row for each name, the first on top, and a line at ``even``."""
    figure = new_figure("", from_zero=False)
    figure.add_shape(type="line", x0=even, x1=even, y0=0, y1=1, yref="paper", name="even")
    figure.add_scatter(
        x=rounded(values), y=[escape(name) for name in names], mode="markers+text", meta={"role": "estimate"},
        text=[f"{value:.{digits}f}" for value in values], textposition="top center",
        error_x={
            "type": "data", "symmetric": False,
            "array": rounded([high - value for value, (_, high) in zip(values, bounds, strict=True)]),
            "arrayminus": rounded([value - low for value, (low, _) in zip(values, bounds, strict=True)]),
        },
        customdata=[rounded(pair) for pair in bounds],
        hovertemplate=f"%{{y}} %{{x:.{digits}f}} [%{{customdata[0]:.{digits}f}}, %{{customdata[1]:.{digits}f}}]<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(hovermode="closest")
    return figure


def _ticks(bounds: Sequence[tuple[float, float]]) -> dict[str, list[float]]:
    """Return range and ticks of a logarithmic axis that holds bounds and 1, both with room at the ends."""
    low, high = (choose([1.0, *column]) for choose, column in zip((min, max), zip(*bounds, strict=True), strict=True))
    room = (high / low) ** 0.06
    ticks = [tick for tick in _TICKS if low / room <= tick <= high * room]
    return {"range": [log10(low / room), log10(high * room)], "tickvals": ticks}


def points_height(rows: int) -> int:
    """Return how many pixels a figure of so many rows takes."""
    return 90 + _ROW_PIXELS * rows
