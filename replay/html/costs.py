"""The section on what a run cost: CPU seconds of update and of ranking by model, and wall time, all by window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from replay.html.cells import BUCKETS_MS, WINDOW_MS, fitting_bucket_ms
from replay.html.drawing import add_line, add_marks, moments, new_figure, rounded
from replay.html.parts import Chart, Section, Table, number_cell, rows_of, text_cell
from replay.html.quality import POINTS
from replay.html.run_data import RunData
from replay.html.times import bucket_name, moment_cell

# The parts of a model's cost, by the word before ``_cpu_seconds``; runs of before may know the first alone.
_NAMES = {"update": "update", "rank": "ranking"}


@dataclass(frozen=True)
class CostCells:
    """What an evaluation window cost, by bucket of slide start (T,): means of cpu_seconds by part (M, T) and of seconds (T,)."""

    models: tuple[str, ...]
    starts_ms: np.ndarray
    cpu_seconds: Mapping[str, np.ndarray]
    seconds: np.ndarray

    @classmethod
    def of(cls, run: RunData, bucket_ms: int) -> "CostCells":
        """Add up what commits cost and divide by the windows of the bucket; buckets in which nothing was ranked are left out."""
        starts_ms, windows = np.unique(run.windows.starts_ms // bucket_ms * bucket_ms, return_counts=True)
        slide_ms = run.record.config.slide_ms
        begun_ms = [(commit.slide_end_ms - slide_ms) // bucket_ms * bucket_ms for commit in run.commits]
        ranked = set(starts_ms.tolist())
        inside = [(at, commit) for at, commit in zip(begun_ms, run.commits, strict=True) if at in ranked]
        at = np.searchsorted(starts_ms, [start for start, _ in inside])

        def added(values: Sequence[float]) -> np.ndarray:
            return np.bincount(at, values, len(starts_ms))

        models = run.results.models
        cpu = {}
        for part in _NAMES:
            spent = [commit.cpu_seconds[part] for _, commit in inside]
            if any(spent):
                cpu[part] = np.array([added([one.get(model, 0.0) for one in spent]) for model in models]) / windows
        timed = added([float(commit.seconds is not None) for _, commit in inside])
        with np.errstate(divide="ignore", invalid="ignore"):
            # A commit without a time counts as the mean one of its bucket.
            seconds = added([commit.seconds or 0.0 for _, commit in inside]) / timed * added([1.0] * len(inside))
        return cls(models, starts_ms, cpu, seconds / windows)


def cost_section(run: RunData) -> Section:
    """Show what learning cost along the stream, by model, and how long a window took as a whole."""
    slide_ms = run.record.config.slide_ms
    fitting = fitting_bucket_ms(run.windows.starts_ms, POINTS)
    bucket_ms = next(size for size in BUCKETS_MS if size >= max(fitting, slide_ms))
    cells = CostCells.of(run, bucket_ms)
    point = "Each point is a window" if bucket_ms == WINDOW_MS else f"Each point is the mean window of {bucket_name(bucket_ms)}"
    lead = "What following the stream takes, per one-hour window, on the machine that ran it, beside whatever else that did."
    rejected = sum(commit.rejected for commit in run.commits)
    notes = (f"The guard took back {rejected:,} of {len(run.commits):,} updates.",)
    charts = (_cpu_chart(run, cells, point), _wall_chart(run, cells, point))
    return Section("cost", "Cost", lead, charts=charts, tables=(_totals(run),), notes=notes)


def _cpu_chart(run: RunData, cells: CostCells, point: str) -> Chart:
    figures = {_NAMES[part]: _cpu_figure(run, cells, part) for part in cells.cpu_seconds}
    spent = [
        (f"{model}, {_NAMES[part]}", seconds[row])
        for part, seconds in cells.cpu_seconds.items()
        for row, model in enumerate(cells.models)
        if seconds[row].any()
    ]
    rows = [
        [moment_cell(int(start)), *(number_cell(float(seconds[at]), "{:,.4f}") for _, seconds in spent)]
        for at, start in enumerate(cells.starts_ms)
    ]
    table = Table("CPU seconds a window", ("from (UTC)", *(name for name, _ in spent)), rows_of(rows))
    about = f"{point}. Models that spend nothing are left out; what several share is in each of them."
    return Chart("cpu", "CPU time", "seconds a window, log scale", about, figures, table)


def _cpu_figure(run: RunData, cells: CostCells, part: str) -> go.Figure:
    figure, seconds = new_figure(log=True, from_zero=False), cells.cpu_seconds[part]
    known = seconds[seconds > 0]
    # Within two decades their powers of ten would leave an axis with one tick, or none.
    figure.update_yaxes(dtick="D2" if not len(known) or known.max() < 100 * known.min() else 1)
    for model, spent in zip(cells.models, seconds, strict=True):
        if spent.any():
            add_line(figure, model, moments(cells.starts_ms), np.where(spent > 0, spent, np.nan), f"{model} %{{y:.4f}} s")
    add_marks(figure, run.marks)
    return figure


def _wall_chart(run: RunData, cells: CostCells, point: str) -> Chart:
    figure = new_figure()
    figure.add_scatter(
        x=moments(cells.starts_ms), y=rounded(cells.seconds), mode="lines", meta={"role": "single"},
        hovertemplate="%{y:.2f} s<extra></extra>",
    )  # fmt: skip
    add_marks(figure, run.marks)
    rows = [
        [moment_cell(int(start)), number_cell(float(seconds))]
        for start, seconds in zip(cells.starts_ms, cells.seconds, strict=True)
    ]
    table = Table("Seconds from commit to commit, a window", ("from (UTC)", "seconds"), rows_of(rows))
    about = f"{point}; reading and ranking of all models are in it. An attempt's first, which has its start in it, is left out."
    return Chart("wall", "Time between commits", "seconds a window", about, {"": figure}, table, height=280)


def _totals(run: RunData) -> Table:
    events = run.metrics["events"]
    spent = {part: run.metrics[f"{part}_cpu_seconds"] for part in _NAMES if f"{part}_cpu_seconds" in run.metrics}
    rows = []
    for model in run.results.models:
        seconds = [part.get(model) for part in spent.values()]
        each = [None if one is None or not events else 1_000 * one / events for one in seconds]
        cells = ((number_cell(one), number_cell(share, "{:,.3f}")) for one, share in zip(seconds, each, strict=True))
        rows.append([text_cell(model), *(cell for pair in cells for cell in pair)])
    columns = [name for part in spent for name in (f"{_NAMES[part]}, in all", f"{_NAMES[part]}, a thousand events")]
    return Table("CPU seconds", ("model", *columns), rows_of(rows))
