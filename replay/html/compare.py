"""The page of two runs side by side: the differences of every model, along the stream and by stratum, and what they cost."""

from collections.abc import Sequence
from html import escape
from math import isnan

import numpy as np

from dynmm_core.adapt.strata import STRATA
from replay.html.cells import Cells, fitting_bucket_ms
from replay.html.drawing import add_line, add_marks, moments, new_figure, rounded
from replay.html.headline import UNDECIDED, Fact, standing
from replay.html.page import LegendEntry, Page
from replay.html.pair_causes import pair_cost_section, pair_settings_section
from replay.html.pairing import Difference, check_pair, chosen, differences, same_events, shared_models, window_differences
from replay.html.palette import SIDES, looks
from replay.html.parts import Chart, Section, Table, interval_cell, number_cell, rows_of, text_cell
from replay.html.quality import POINTS, SMALL_POINTS, over_time_table, points_sentence
from replay.html.ratio_chart import Point, points_figure, points_height
from replay.html.run_data import RunData
from replay.results import ADAPTED, HEADLINE

_METRIC = HEADLINE.upper()
SIGNIFICANT = 0.05


def compare_page(a: RunData, b: RunData) -> Page:
    """Return the page of two runs.

    Raises:
        UserError: they did not rank the same events.
    """
    check_pair(a, b)
    found = differences(a.windows, b.windows, HEADLINE)
    look = looks([one.model for one in found])
    first = chosen(found, ADAPTED)
    return Page(
        over="DynMM stream: two runs of the same events",
        title=f"A {a.name}, B {b.name}",
        subtitle=f"{a.record.dataset}, {a.metrics['events']:,} events in {a.metrics['windows']:,} one-hour windows",
        headline=compare_headline(first),
        facts=_facts(first),
        legend=[LegendEntry(one.model, look[one.model], f"{100 * one.difference:+.2f}") for one in found],
        shown=frozenset(one.model for one in found if not one.same) or frozenset({first.model}),
        sections=(
            _differences_section(found),
            _time_section(a, b),
            _sides_section(a, b, [one.model for one in found if not one.same]),
            _strata_section(a, b),
            pair_cost_section(a, b),
            pair_settings_section(a, b),
        ),
        causes=[(f"run {side}", f"{run.path}, configuration {run.record.config_hash}") for side, run in (("A", a), ("B", b))],
    )


def compare_headline(one: Difference) -> str:
    """Return what the comparison shows in one sentence, no more than its interval allows."""
    points = f"{100 * one.difference:+.2f} points of {_METRIC}"
    if one.same:
        return f"{one.model} is the same in both runs, in every window."
    if isnan(one.low):
        return f"{one.model} has {points} in B; the windows are too few for an interval."
    told = f"95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f}; Holm-corrected {p_text(one.p_holm)}"
    # Both have to agree: the interval knows nothing of how many models were looked at.
    stands = standing(one.low, one.high, 0.0) if one.p_holm < SIGNIFICANT else UNDECIDED
    return f"{one.model} of B {stands} that of A: {points} ({told})."


def p_text(p: float) -> str:
    """Return a corrected p-value in words, no smaller than a test of blocks can vouch for."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _facts(one: Difference) -> list[Fact]:
    return [
        Fact(f"{_METRIC} of {one.model} in A", f"{100 * one.a:.2f} %", "mean over events"),
        Fact(f"{_METRIC} of {one.model} in B", f"{100 * one.b:.2f} %", "mean over events"),
        Fact("blocks", f"{one.blocks:,}", f"of {one.block} consecutive windows"),
    ]


def _differences_section(found: Sequence[Difference]) -> Section:
    rows = [
        [
            text_cell(one.model),
            number_cell(100 * one.a),
            number_cell(100 * one.b),
            interval_cell(one.difference, one.low, one.high, scale=100),
            number_cell(one.p, "{:.4f}"),
            number_cell(one.p_holm, "{:.4f}"),
        ]
        for one in found
    ]
    columns = ("model", "A", "B", "B minus A [95\u00a0%]", "p", "p, Holm")
    table = Table(f"{_METRIC} in percent, differences in points", columns, rows_of(rows))
    points = [_point(one) for one in found if not one.same] or [_point(one) for one in found]
    figure = points_figure(points, even=0.0, digits=2)
    about = "Right of the line at 0, B ranks better. Bars are 95 % intervals of the difference, paired by window."
    if 0 < len(points) < len(found):
        about += " Models that are equal in every window are in the table alone."
    chart = Chart("difference", "B minus A", f"{_METRIC}, points", about, {"": figure}, table, height=points_height(len(points)))
    tested = sum(not isnan(one.p) for one in found)
    blocks = f"blocks of {found[0].block} consecutive windows, of which there are {found[0].blocks}"
    corrected = f"corrected by Holm over the {tested} models that differ at all" if tested else "where anything differs"
    note = f"Intervals: bootstrap over {blocks}. p: Student's test over those blocks, {corrected}."
    lead = "Both runs ranked the same events, so that each window is compared with itself."
    return Section("differences", "Differences", lead, charts=(chart,), notes=(note,))


def _point(one: Difference) -> Point:
    low, high = (one.difference, one.difference) if isnan(one.low) else (one.low, one.high)
    return Point(one.model, 100 * one.difference, 100 * low, 100 * high)


def _time_section(a: RunData, b: RunData) -> Section:
    models = shared_models(a.windows, b.windows)
    bucket_ms = fitting_bucket_ms(a.windows.starts_ms, POINTS)
    ours, theirs = a.windows.by(bucket_ms), b.windows.by(bucket_ms)
    x = moments(ours.starts_ms)
    each, summed = new_figure(from_zero=False), new_figure(from_zero=False)
    values = []
    for model in models:
        more, events = window_differences(ours, theirs, model, HEADLINE)
        with np.errstate(invalid="ignore"):
            values.append(100 * more / events)
        add_line(each, model, x, values[-1], f"{escape(model)} %{{y:+.2f}}")
        add_line(summed, model, x, 100 * np.cumsum(more) / events.sum(), f"{escape(model)} %{{y:+.3f}} so far")
    for figure in (each, summed):
        figure.add_hline(y=0, name="even")
        add_marks(figure, a.marks)
    kept = [ours.of(model) for model in models]
    cells = Cells(models, ours.starts_ms, ours.n[kept], ours.sums[kept])
    table = over_time_table(cells, np.array(values), f"B minus A, points of {_METRIC}", bucket_ms)
    about = f"{points_sentence(a.windows, bucket_ms)} Summed up, the line ends at the difference over all events."
    chart = Chart("more", "B minus A", f"{_METRIC}, points", about, {"summed up": summed, "each window": each}, table)
    return Section(
        "over-time", "Where it comes from", "When one run pulled ahead of the other, and when it fell back.", charts=(chart,)
    )


def _sides_section(a: RunData, b: RunData, models: Sequence[str]) -> Section:
    if not models:
        return Section("sides", "Side by side", "", absent="Every model is the same in both runs, in every window.")
    bucket_ms = fitting_bucket_ms(a.windows.starts_ms, SMALL_POINTS)
    sides = [run.windows.by(bucket_ms) for run in (a, b)]
    charts = []
    for model in models:
        figure = new_figure()
        means = [100 * cells.means(HEADLINE)[cells.of(model)] for cells in sides]
        for name, mean in zip("AB", means, strict=True):
            figure.add_scatter(
                x=moments(sides[0].starts_ms), y=rounded(mean), mode="lines", meta={"role": "line", "side": name},
                hovertemplate=f"{name} %{{y:.2f}}<extra></extra>",
            )  # fmt: skip
        figure.update_xaxes(nticks=4, tickangle=0)
        add_marks(figure, a.marks, labels=False)
        row = sides[0].of(model)
        cells = Cells(("A", "B"), sides[0].starts_ms, np.stack([side.n[row] for side in sides]), sides[0].sums[:2])
        table = over_time_table(cells, np.array(means), f"{_METRIC} of {model}, percent", bucket_ms)
        charts.append(Chart(f"side-{model}", model, "percent", "", {"": figure}, table, height=240, small=True))
    lead = f"{_METRIC} of both runs, for the models that differ. {points_sentence(a.windows, bucket_ms)}"
    key = tuple((f"{name} {run.name}", SIDES[name]) for name, run in (("A", a), ("B", b)))
    return Section("sides", "Side by side", lead, charts=tuple(charts), key=key)


def _strata_section(a: RunData, b: RunData) -> Section:
    rows = []
    both = [name for name in STRATA if name in a.strata and name in b.strata]
    equal = [name for name in both if same_events(a.strata[name], b.strata[name])]
    for stratum in equal:
        for one in differences(a.strata[stratum], b.strata[stratum], HEADLINE):
            share = a.strata[stratum].n[0].sum() / a.metrics["events"]
            interval = interval_cell(one.difference, one.low, one.high, scale=100)
            rows.append(
                [
                    text_cell(stratum),
                    text_cell(one.model),
                    number_cell(100 * share, "{:.1f} %"),
                    number_cell(100 * one.a),
                    number_cell(100 * one.b),
                    interval,
                ]
            )
    columns = ("stratum", "model", "of events", "A", "B", "B minus A [95\u00a0%]")
    table = Table(f"{_METRIC} in percent by stratum, differences in points", columns, rows_of(rows), labels=2)
    lead = "The same over parts of the events, without a correction for how many there are."
    others = ", ".join(name for name in both if name not in equal)
    # A slide of another length ends at other moments, and what was known then decides.
    notes = (f"Left out, because other events belong to them in A than in B: {others}.",) if others else ()
    return Section("strata", "Strata", lead, tables=(table,), notes=notes)
