"""The section on the store: how it grew, version by version."""

from collections.abc import Sequence

import numpy as np

from replay.html.drawing import new_figure, rounded
from replay.html.parts import Chart, Section, Table, number_cell, rows_of
from replay.html.quality import POINTS
from replay.html.run_data import Commit, RunData
from replay.html.times import moment, moment_cell

MIB = 1 << 20


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
    table = Table("Versions of the store", columns, rows_of(rows))
    chart = Chart("growth", "Size by version", "MiB", about, {"": figure}, table, height=300)
    return Section("store", "Store", lead, charts=(chart,))


def _thinned(commits: Sequence[Commit]) -> list[int]:
    """Return the places of the versions that are drawn: those that added rows and the last one, every so many of them."""
    telling = [at for at, commit in enumerate(commits) if commit.bytes or at == len(commits) - 1]
    step = -(-len(telling) // POINTS)
    return sorted({*telling[::step], telling[-1]})
