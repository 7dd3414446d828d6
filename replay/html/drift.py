"""The section on drift: what is known to have changed and when, and what the detectors noticed of it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dynmm_core.quantities import format_duration
from replay.html.drawing import new_figure, rounded
from replay.html.parts import NOTHING, Cell, Chart, Section, Table, number_cell, rows_of, text_cell
from replay.html.run_data import RunData
from replay.html.times import moment, moment_cell
from simulators.truth_file import DriftMark

_ROW_PIXELS = 34


def drift_section(run: RunData) -> Section:
    """Show drifts and alarms on one line of time, and list both."""
    title = "Drift"
    lead = "What is known to have changed in the stream, and when a detector suspected it."
    alarms = run.metrics.get("drift_alarms")
    if not run.drifts and not alarms:
        seen = "The detectors suspected nothing. " if alarms is not None else ""
        absent = f"{seen}No drift is known: replay a log made by `dynmm simulate` with `--truth`, and the charts mark its drifts."
        return Section("drift", title, lead, absent=absent)
    tables = [table for table in (_drifts(run.drifts), _alarms(run, alarms or ())) if table is not None]
    notes = ("The detectors suspected nothing.",) if alarms == [] else ()
    chart = _timeline(run, alarms or (), tables[0])
    return Section("drift", title, lead, charts=(chart,), tables=tuple(tables[1:]), notes=notes)


def _timeline(run: RunData, alarms: Sequence[Mapping[str, Any]], table: Table) -> Chart:
    figure = new_figure(from_zero=False)
    drifts = [run.drifts[mark.number - 1] for mark in run.marks]
    rows = [f"{mark.label} {drift.kind}" for mark, drift in zip(run.marks, drifts, strict=True)]
    for row, mark, drift in zip(rows, run.marks, drifts, strict=True):
        for start, end, level in mark.spans:
            told = f"{escape(drift.id)}, {escape(drift.kind)}, level {level:.2f}: {moment(start)} to {moment(end)}"
            figure.add_scatter(
                x=[start, end], y=[escape(row)] * 2, mode="lines", line={"width": 14}, opacity=0.25 + 0.75 * level,
                meta={"role": "span"}, hovertemplate=told + "<extra></extra>",
            )  # fmt: skip
    sources = sorted({_source(alarm) for alarm in alarms})
    for source in sources:
        mine = [alarm for alarm in alarms if _source(alarm) == source]
        figure.add_scatter(
            x=[alarm["slide_end_ms"] for alarm in mine], y=[escape(source)] * len(mine), mode="markers",
            marker={"symbol": "line-ns-open", "size": 14, "line": {"width": 2}}, meta={"role": "alarm"},
            customdata=rounded([alarm["value"] for alarm in mine]),
            hovertemplate=f"{escape(source)}, %{{x|%d %b %Y %H:%M}}: %{{customdata:.4g}}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    starts = run.windows.starts_ms
    if len(starts):
        figure.update_xaxes(range=[int(starts[0]), run.until_ms])
    figure.update_layout(hovermode="closest")
    height = 80 + _ROW_PIXELS * (len(rows) + len(sources))
    about = "Bars are drifts in force, darker at a higher level; ticks are alarms, by detector and what it watched."
    return Chart("timeline", "Drifts and alarms", "", about, {"": figure}, table, height=height)


def _source(alarm: Mapping[str, Any]) -> str:
    return f"{alarm['detector']}: {alarm['signal']}"


def _drifts(drifts: Sequence[DriftMark]) -> Table | None:
    rows = [
        [
            Cell(f"D{number}", number),
            text_cell(drift.id),
            text_cell(drift.kind),
            moment_cell(drift.start_ms),
            Cell(NOTHING, None) if drift.end_ms is None else moment_cell(drift.end_ms),
            number_cell(drift.magnitude),
            number_cell(drift.items_affected, "{:,.0f}"),
            number_cell(drift.users_affected, "{:,.0f}"),
        ]
        for number, drift in enumerate(drifts, 1)
    ]
    columns = ("mark", "drift", "kind", "start (UTC)", "end (UTC)", "magnitude", "items", "users")
    return Table("Known drifts", columns, rows_of(rows), labels=3) if rows else None


def _alarms(run: RunData, alarms: Sequence[Mapping[str, Any]]) -> Table | None:
    rows = [
        [
            moment_cell(alarm["slide_end_ms"]),
            text_cell(str(alarm["detector"])),
            text_cell(str(alarm["signal"])),
            number_cell(alarm["value"], "{:.4g}"),
            number_cell(alarm.get("expected"), "{:.4g}"),
            _behind(run, alarm["slide_end_ms"]),
        ]
        for alarm in alarms
    ]
    columns = ("end of the slide (UTC)", "detector", "watched", "value", "expected", "after the last change")
    return Table("Alarms of the detectors", columns, rows_of(rows), labels=3) if rows else None


def _behind(run: RunData, time_ms: int) -> Cell:
    """Return how long after which drift's last move something was; a dash where nothing had moved before."""
    moves = [(at, mark.label) for mark in run.marks for start, end, _ in mark.spans for at in (start, end) if at < time_ms]
    if not moves:
        return Cell(NOTHING, None)
    at, label = max(moves)
    return Cell(f"{format_duration(time_ms - at)} ({label})", time_ms - at)
