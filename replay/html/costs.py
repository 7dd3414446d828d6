"""The sections on what a run cost: CPU seconds of update and wall time by window, and the growth of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from replay.html.cells import BUCKETS_MS, WINDOW_MS, fitting_bucket_ms
from replay.html.drawing import add_line, add_marks, moments, new_figure, rounded
from replay.html.parts import Chart, Section, Table, number_cell, rows_of, text_cell
from replay.html.quality import POINTS
from replay.html.run_data import Commit, RunData
from replay.html.times import bucket_name, moment, moment_cell

MIB = 1 << 20


@dataclass(frozen=True)
class CostCells:
    """What an evaluation window cost, by bucket of slide start: starts_ms (T,); cpu_seconds (M, T), seconds (T,) are means."""

    models: tuple[str, ...]
    starts_ms: np.ndarray
    cpu_seconds: np.ndarray
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
        cpu = [added([commit.update_cpu_seconds.get(model, 0.0) for _, commit in inside]) for model in models]
        timed = added([float(commit.seconds is not None) for _, commit in inside])
        with np.errstate(divide="ignore", invalid="ignore"):
            # A commit without a time counts as the mean one of its bucket.
            seconds = added([commit.seconds or 0.0 for _, commit in inside]) / timed * added([1.0] * len(inside))
        return cls(models, starts_ms, np.array(cpu) / windows, seconds / windows)


def cost_section(run: RunData) -> Section:
    """Show what learning cost along the stream, by model, and how long a window took as a whole."""
    slide_ms = run.record.config.slide_ms
    fitting = fitting_bucket_ms(run.windows.starts_ms, POINTS)
    bucket_ms = next(size for size in BUCKETS_MS if size >= max(fitting, slide_ms))
    cells = CostCells.of(run, bucket_ms)
    point = "Each point is a window" if bucket_ms == WINDOW_MS else f"Each point is the mean window of {bucket_name(bucket_ms)}"
    lead = (
        "What following the stream takes, per one-hour window. Times are of the machine that ran it, beside whatever else it did."
    )
    rejected = sum(commit.rejected for commit in run.commits)
    notes = (f"The guard took back {rejected:,} of {len(run.commits):,} updates.",)
    charts = (_cpu_chart(run, cells, point), _wall_chart(run, cells, point))
    return Section("cost", "Cost", lead, charts=charts, tables=(_totals(run),), notes=notes)


def _cpu_chart(run: RunData, cells: CostCells, point: str) -> Chart:
    figure = new_figure(log=True, from_zero=False)
    learning = [row for row in range(len(cells.models)) if cells.cpu_seconds[row].any()]
    spent = cells.cpu_seconds[cells.cpu_seconds > 0]
    # Within two decades their powers of ten would leave an axis with one tick, or none.
    figure.update_yaxes(dtick="D2" if not len(spent) or spent.max() < 100 * spent.min() else 1)
    for row in learning:
        model, spent = cells.models[row], cells.cpu_seconds[row]
        add_line(figure, model, moments(cells.starts_ms), np.where(spent > 0, spent, np.nan), f"{model} %{{y:.4f}} s")
    add_marks(figure, run.marks)
    rows = [
        [moment_cell(int(start)), *(number_cell(float(cells.cpu_seconds[row, at]), "{:,.4f}") for row in learning)]
        for at, start in enumerate(cells.starts_ms)
    ]
    table = Table("CPU seconds of update a window", ("from (UTC)", *(cells.models[row] for row in learning)), rows_of(rows))
    about = f"{point}; CPU seconds of the model's own update, ranking apart. Models that spend nothing are left out."
    return Chart("cpu", "CPU of update", "seconds a window, log scale", about, {"": figure}, table)


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
    events, windows = run.metrics["events"], run.metrics["windows"]
    rows = [
        [
            text_cell(model),
            number_cell(seconds),
            number_cell(seconds / windows if windows else None, "{:,.4f}"),
            number_cell(1_000 * seconds / events if events else None, "{:,.3f}"),
        ]
        for model, seconds in run.metrics.get("update_cpu_seconds", {}).items()
    ]
    return Table("CPU seconds of update", ("model", "in all", "a window", "a thousand events"), rows_of(rows))


def store_section(run: RunData) -> Section:
    """Show how the store grew, version by version."""
    lead = "Bytes of latents that the table holds, by its own log; trainer states, which are cleared away, are not among them."
    if not run.commits:
        return Section("store", "Store", lead, absent="The store has no version.")
    bytes_so_far = np.cumsum([commit.bytes for commit in run.commits])
    kept = _thinned(run.commits)
    figure = new_figure("version")
    figure.add_scatter(
        x=[run.commits[at].number for at in kept], y=rounded(bytes_so_far[kept] / MIB), mode="lines", line={"shape": "hv"},
        meta={"role": "single"}, customdata=[moment(run.commits[at].slide_end_ms) for at in kept],
        hovertemplate="version %{x}, slide to %{customdata}: %{y:,.2f} MiB<extra></extra>",
    )  # fmt: skip
    columns = ("version", "slide end (UTC)", "refreshed rows", "KiB added", "MiB in all")
    rows = [
        [
            number_cell(run.commits[at].number, "{:.0f}"),
            moment_cell(run.commits[at].slide_end_ms),
            number_cell(run.commits[at].rows, "{:,.0f}"),
            number_cell(run.commits[at].bytes / 1_024, "{:,.0f}"),
            number_cell(float(bytes_so_far[at]) / MIB),
        ]
        for at in kept
    ]
    with_rows = sum(commit.bytes > 0 for commit in run.commits)
    about = f"{with_rows:,} of {len(run.commits):,} versions keep their rows (--store-every {run.record.config.store_every})."
    chart = Chart(
        "growth",
        "Size by version",
        "MiB",
        about,
        {"": figure},
        Table("Versions of the store", columns, rows_of(rows)),
        height=300,
    )
    return Section("store", "Store", lead, charts=(chart,))


def _thinned(commits: Sequence[Commit]) -> list[int]:
    """Return the places of the versions that are drawn: those that added rows and the last one, every so many of them."""
    telling = [at for at, commit in enumerate(commits) if commit.bytes or at == len(commits) - 1]
    step = -(-len(telling) // POINTS)
    return sorted({*telling[::step], telling[-1]})
