"""The sections on the oracle: what is missing to it along the stream, and how what a drift took was regained."""

from collections.abc import Sequence
from html import escape

import numpy as np

from replay.drift_figures import Followed, ModelFigures, WindowSeries, drift_figures
from replay.html.cells import Cells, fitting_bucket_ms
from replay.html.drawing import add_line, add_marks, moments, new_figure
from replay.html.parts import NOTHING, Cell, Chart, Section, Table, number_cell, rows_of, text_cell
from replay.html.quality import POINTS, over_time_table, points_sentence
from replay.html.ratio_chart import Point, points_figure, points_height
from replay.html.run_data import RunData
from replay.oracle import ORACLE
from replay.results import HEADLINE

_METRIC = HEADLINE.upper()
_NEVER = 10**9  # sorts behind every number of windows


def gap_section(run: RunData) -> Section:
    """Show what every model lacks to the oracle, along the stream and summed up."""
    title = "Gap to the oracle"
    lead = "What each model is short of the ranking by the truth's own probabilities; at 0 there is nothing left to learn."
    if ORACLE not in run.windows.models:
        absent = "This run has no oracle: replay a log made by `dynmm simulate` with `--truth`, and the report shows the gap."
        return Section("gap", title, lead, absent=absent)
    bucket_ms = fitting_bucket_ms(run.windows.starts_ms, POINTS)
    cells = run.windows.by(bucket_ms)
    short = cells.sums_of(HEADLINE)[cells.of(ORACLE)] - cells.sums_of(HEADLINE)
    kept = [row for row, model in enumerate(cells.models) if model != ORACLE]
    models = Cells(tuple(cells.models[row] for row in kept), cells.starts_ms, cells.n[kept], cells.sums[kept])
    points, summed = 100 * short[kept] / models.n, np.cumsum(short[kept], axis=1)
    gap, lost = new_figure(), new_figure()
    for row, model in enumerate(models.models):
        add_line(gap, model, moments(cells.starts_ms), points[row], f"{escape(model)} %{{y:.2f}} below the oracle")
        add_line(lost, model, moments(cells.starts_ms), summed[row], f"{escape(model)} %{{y:,.0f}} lost so far")
    add_marks(gap, run.marks)
    add_marks(lost, run.marks)
    about = points_sentence(run.windows, bucket_ms)
    table = over_time_table(models, points, "Points below the oracle", bucket_ms)
    regret = over_time_table(models, summed, f"Regret: {_METRIC} lost to the oracle, summed over events", bucket_ms)
    summed_about = "What was lost up to then; a flat line loses no more."
    charts = (
        Chart("short", "Oracle minus model", f"{_METRIC}, points", about, {"": gap}, table),
        Chart("regret", "Regret", f"{_METRIC}, summed over events", summed_about, {"": lost}, regret, height=300),
    )
    return Section("gap", title, lead, charts=charts, tables=(_shares(figures_of(run)),))


def figures_of(run: RunData) -> tuple[ModelFigures, ...]:
    """Return how every model followed the run's drifts."""
    windows = run.windows
    sums = dict(zip(windows.models, windows.sums_of(HEADLINE), strict=True))
    return drift_figures(WindowSeries(windows.starts_ms, windows.n[0], sums), run.drifts)


def _shares(figures: Sequence[ModelFigures]) -> Table:
    rows = [
        [text_cell(one.model), _share_cell(one.share_of_gap), number_cell(one.regret, "{:,.0f}")]
        for one in sorted(figures, key=lambda one: -one.ndcg)
    ]
    caption = "Share of the gap between static and oracle that is closed, from the first drift on; regret at the end"
    return Table(caption, ("model", "share closed", f"regret, {_METRIC}"), rows_of(rows))


def _share_cell(share: float | None) -> Cell:
    return number_cell(None if share is None else 100 * share, "{:.1f} %")


def recovery_section(run: RunData) -> Section:
    """Show for each drift how many windows it took every model to regain what it lost, and what was closed of the gap."""
    title = "Recovery"
    lead = "How many one-hour windows from a drift's start until a model had regained nine tenths of what the drift took from it."
    measured = figures_of(run) if ORACLE in run.windows.models else ()
    if not any(followed.measured for one in measured for followed in one.drifts):
        absent = (
            "It takes an oracle and a drift with six windows before it and three after it: replay a simulated log with `--truth`."
        )
        return Section("recovery", title, lead, absent=absent)
    figures = sorted(measured, key=lambda one: -one.ndcg)
    charts = tuple(_chart(run, number, figures) for number, _ in enumerate(run.drifts) if figures[0].drifts[number].measured)
    return Section("recovery", title, lead, charts=charts, tables=(_followed_table(figures),))


def _chart(run: RunData, number: int, figures: Sequence[ModelFigures]) -> Chart:
    drift = run.drifts[number]
    times = [(one.model, one.drifts[number].recovery_windows) for one in figures]
    edge = max([10, *(windows for _, windows in times if windows is not None)]) * 1.1
    points = [
        Point(model, edge, edge, edge, beyond=True, text="never") if windows is None else Point(model, windows, windows, windows)
        for model, windows in times
    ]
    figure = points_figure(points, even=0, digits=0, edge=edge)
    rows = [[text_cell(model), _windows_cell(one.drifts[number])] for (model, _), one in zip(times, figures, strict=True)]
    about = f"{drift.id}. A triangle: not before the next change, or the end."
    table = Table(f"Windows until {drift.id} was made up for", ("model", "windows"), rows_of(rows))
    height = points_height(len(points))
    return Chart(f"recovery-{number + 1}", f"D{number + 1} {drift.kind}", "windows", about, {"": figure}, table, height=height)


def _followed_table(figures: Sequence[ModelFigures]) -> Table:
    rows = [
        [
            text_cell(one.model),
            Cell(f"D{number} {followed.drift}", number),
            _windows_cell(followed),
            _share_cell(followed.share_of_gap),
            number_cell(None if followed.forgetting is None else 100 * followed.forgetting),
        ]
        for one in figures
        for number, followed in enumerate(one.drifts, 1)
    ]
    columns = ("model", "drift", "windows to recover", "share of the gap closed", "forgetting, points")
    return Table("By model and drift; shares over the windows up to the next change", columns, rows_of(rows), labels=2)


def _windows_cell(followed: Followed) -> Cell:
    if not followed.measured:
        return Cell(NOTHING, None)
    windows = followed.recovery_windows
    return Cell("never", float(_NEVER)) if windows is None else number_cell(windows, "{:,.0f}")
