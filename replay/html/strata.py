"""The section on strata: who gains, along the stream and over all of it."""

from collections.abc import Sequence

import numpy as np

from dynmm_core.adapt.strata import STRATA
from replay.html.cells import Cells, fitting_bucket_ms
from replay.html.drawing import metric_over_time
from replay.html.parts import Cell, Chart, Section, Table, interval_cell, number_cell, rows_of, text_cell
from replay.html.quality import SMALL_POINTS, over_time_table, points_sentence
from replay.html.run_data import RunData
from replay.results import HEADLINE, Ratio, ratio_over_windows

_MEANING = {
    "warm": "item and user with five events or more",
    "cold_item": "items with fewer than five events",
    "cold_user": "users with fewer than five events",
    "new_item": "items without an event before the cut",
    "new_user": "users without an event before the cut",
    "session_first": "the first event of a session",
    "session_later": "later events of a session",
}


def strata_section(run: RunData) -> Section:
    """Show the headline metric of every stratum, over all events and along the stream."""
    found = [name for name in STRATA if name in run.strata]
    bucket_ms = fitting_bucket_ms(run.windows.starts_ms, SMALL_POINTS)
    charts = tuple(_chart(run, name, bucket_ms) for name in found)
    lead = f"The same metric over parts of the events; small parts move a lot. {points_sentence(run.windows, bucket_ms)}"
    return Section("strata", "Strata", lead, charts=charts, tables=(_summary(run, found),), tables_first=True)


def _summary(run: RunData, names: Sequence[str]) -> Table:
    models = sorted(run.metrics["models"], key=lambda model: -run.metrics["models"][model][HEADLINE])
    pair = run.ratios[0] if run.ratios else None
    events = run.metrics["events"]
    rows = []
    for name in names:
        figures = {model: run.metrics["models"][model]["strata"][name] for model in models}
        n = figures[models[0]]["n"]
        cells = [number_cell(None if figures[model][HEADLINE] is None else 100 * figures[model][HEADLINE]) for model in models]
        ratio = [] if pair is None else [_ratio_cell(stratum_ratio(run.strata[name], pair))]
        rows.append([text_cell(name), number_cell(100 * n / events, "{:.1f} %", sort=n), *ratio, *cells])
    ratio_name = [] if pair is None else [f"{pair.numerator} / {pair.denominator} [95\u00a0%]"]
    return Table(f"{HEADLINE.upper()} in percent by stratum", ("stratum", "of events", *ratio_name, *models), rows_of(rows))


def stratum_ratio(cells: Cells, pair: Ratio) -> Ratio | None:
    """Return the ratio of a pair of models within a stratum, over the windows that have an event of it."""
    sums = cells.sums_of(pair.metric)
    top, bottom = (sums[cells.of(model)].tolist() for model in (pair.numerator, pair.denominator))
    return ratio_over_windows(pair.numerator, pair.denominator, pair.metric, top, bottom)


def _ratio_cell(ratio: Ratio | None) -> Cell:
    if ratio is None:
        return number_cell(None)
    known = ratio.blocks > 1
    return interval_cell(ratio.ratio, ratio.low if known else np.nan, ratio.high if known else np.nan, digits=3)


def _chart(run: RunData, name: str, bucket_ms: int) -> Chart:
    cells = run.strata[name].by(bucket_ms)
    figure = metric_over_time(cells, HEADLINE, run.marks, small=True)
    figure.update_xaxes(range=[int(run.windows.starts_ms[0]), run.until_ms], nticks=4, tickangle=0)
    table = over_time_table(cells, 100 * cells.means(HEADLINE), f"{HEADLINE.upper()} of {name}, percent", bucket_ms)
    about = f"{_MEANING[name]}."
    return Chart(f"stratum-{name}", name, "percent", about[0].upper() + about[1:], {"": figure}, table, height=260, small=True)
