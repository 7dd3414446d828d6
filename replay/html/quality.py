"""The sections on how well models rank: the ratios, every model in a table, and along the stream."""

import numpy as np

from dynmm_core.metrics.bootstrap import block_bootstrap_ratio
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.quantities import format_duration
from dynmm_core.times import DAY_MS
from replay.html.cells import WINDOW_MS, Cells, fitting_bucket_ms
from replay.html.drawing import metric_over_time
from replay.html.parts import Cell, Chart, Section, Table, interval_cell, number_cell, rows_of, text_cell
from replay.html.ratio_chart import ratio_chart
from replay.html.run_data import RunData
from replay.html.times import bucket_name, moment_cell
from replay.results import BOOTSTRAP_SEED, HEADLINE, block_windows

# More points than this are a smear on a phone, and no clearer on a desk.
POINTS = 320
# Of charts side by side.
SMALL_POINTS = 40
_OTHER_METRICS = tuple(name for name in METRICS if name != HEADLINE)


def ratios_section(run: RunData) -> Section:
    """Compare the adapted model with those that it is measured against."""
    title, lead = "Against the others", "How many times the other model's figure the adapted one reaches, over all events."
    if not run.ratios:
        absent = "This run has no pair to compare: replay with adapted and another model among --models."
        return Section("ratios", title, lead, absent=absent)
    ratio = run.ratios[0]
    note = f"Block bootstrap: {ratio.blocks} blocks of {ratio.block} consecutive windows, drawn again and again."
    return Section("ratios", title, lead, charts=(ratio_chart("ratio", run.ratios),), notes=(note,))


def models_section(run: RunData) -> Section:
    """List all models with all metrics."""
    rows = []
    spent = run.metrics.get("update_cpu_seconds", {})
    for model, figures in run.metrics["models"].items():
        low, high = mean_interval(run.windows, model)
        rows.append(
            [
                text_cell(model),
                interval_cell(figures[HEADLINE], low, high, scale=100),
                *(number_cell(100 * figures[metric]) for metric in _OTHER_METRICS),
                Cell(format_duration(figures["staleness_ms"]), figures["staleness_ms"]),
                number_cell(spent.get(model), "{:,.1f}"),
            ]
        )
    rows.sort(key=lambda row: -(row[1].sort if isinstance(row[1].sort, float) else 0.0))
    others = (metric.upper() for metric in _OTHER_METRICS)
    columns = ("model", f"{HEADLINE.upper()} [95\u00a0%]", *others, "staleness", "CPU s of update")
    table = Table("Percent, means over all ranked events; a heading's button sorts.", columns, rows_of(rows))
    return Section(
        "models", "All models", "Every model ranked the same events, each before anything was learned from it.", tables=(table,)
    )


def mean_interval(cells: Cells, model: str) -> tuple[float, float]:
    """Return the 95 % interval of a model's headline metric over all events, from blocks of consecutive windows."""
    row = cells.of(model)
    windows = len(cells.starts_ms)
    if windows < 2 * block_windows(windows):
        return np.nan, np.nan
    sums = cells.sums_of(HEADLINE)[row]
    _, low, high = block_bootstrap_ratio(sums, cells.n[row].astype(float), block_windows(windows), BOOTSTRAP_SEED)
    return low, high


def time_section(run: RunData) -> Section:
    """Show every model's metrics along the stream."""
    bucket_ms = fitting_bucket_ms(run.windows.starts_ms, POINTS)
    cells = run.windows.by(bucket_ms)
    figures = {metric.upper(): metric_over_time(cells, metric, run.marks) for metric in (HEADLINE, *_OTHER_METRICS)}
    about = f"{points_sentence(run.windows, bucket_ms)} Shades are 95 % intervals by the number of events, taken as independent."
    table = over_time_table(cells, 100 * cells.means(HEADLINE), f"{HEADLINE.upper()} in percent", bucket_ms)
    chart = Chart("time", "Window by window", "percent", about, figures, table, height=440)
    return Section("over-time", "Over time", "Each window was ranked with what was learned before it.", charts=(chart,))


def points_sentence(windows: Cells, bucket_ms: int) -> str:
    """Return what one point of a chart stands for."""
    count = len(windows.starts_ms)
    if bucket_ms == WINDOW_MS:
        return f"Each point is one of {count:,} one-hour windows."
    return f"Each point adds up {bucket_name(bucket_ms)}: {count:,} one-hour windows are too many to draw one by one."


def over_time_table(cells: Cells, values: np.ndarray, what: str, bucket_ms: int) -> Table:
    """Return values (M, T) as a table with a row for each point in time."""
    rows = [
        [
            moment_cell(int(start), bucket_ms),
            number_cell(float(cells.n[:, at].max()), "{:,.0f}"),
            *(number_cell(float(v)) for v in values[:, at]),
        ]
        for at, start in enumerate(cells.starts_ms)
    ]
    return Table(what, ("hour (UTC)" if bucket_ms < DAY_MS else "from (UTC)", "events", *cells.models), rows_of(rows))
