"""The section on refresh: what a longer slide, and so a rarer refresh, costs each model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynmm_core.errors import UserError
from dynmm_core.quantities import format_duration
from replay.config import ReplaySettings
from replay.html.cells import WINDOW_MS, Cells
from replay.html.drawing import add_band, add_line, new_figure
from replay.html.parts import Cell, Chart, Section, Table, interval_cell, rows_of
from replay.html.quality import mean_interval
from replay.html.run_data import RunData, read_windows
from replay.results import HEADLINE
from replay.run_folder import finished_run

# What may differ between runs of one refresh curve: the slide, and what follows from it.
_FOLLOWS = ("slide_ms", "end_time_ms")


@dataclass(frozen=True)
class RefreshRun:
    """A run of another slide: its settings and its sums by window."""

    settings: ReplaySettings
    windows: Cells


def read_refresh_runs(run: RunData, paths: Sequence[Path]) -> tuple[RefreshRun, ...]:
    """Return the run itself and those at ``paths``, by slide.

    Raises:
        UserError: one is no finished run, differs from ``run`` in more than the slide, or repeats a slide.
    """
    found = [RefreshRun(run.record.config, run.windows)]
    for path in paths:
        record, _ = finished_run(path)
        _refuse_others(path, run, record.config)
        if record.config.slide_ms in [other.settings.slide_ms for other in found]:
            slide = format_duration(record.config.slide_ms)
            raise UserError(f"--refresh: {path} has slides of {slide}, as another of these runs; give one run for each length")
        found.append(RefreshRun(record.config, read_windows(path)))
    return tuple(sorted(found, key=lambda one: one.settings.slide_ms))


def _refuse_others(path: Path, run: RunData, settings: ReplaySettings) -> None:
    here, there = (one.model_dump(mode="json", exclude={*_FOLLOWS, "models"}) for one in (run.record.config, settings))
    other = next((name for name in here if here[name] != there[name]), None)
    if other is not None:
        raise UserError(
            f"--refresh: {path} has {other} {there[other]!r}, {run.path} has {here[other]!r};"
            " give runs that differ in --slide alone"
        )


def refresh_section(runs: Sequence[RefreshRun]) -> Section:
    """Show the headline metric of every model against the length of the slide."""
    title, lead = "Refresh", "What a model ranks like when it is refreshed less often: the same events, slides of another length."
    if len(runs) < 2:
        absent = (
            "For the curve, replay the same log with other lengths of --slide, then give those runs: --refresh RUN --refresh RUN."
        )
        return Section("refresh", title, lead, absent=absent)
    models = tuple(model for model in runs[-1].windows.models if all(model in one.windows.models for one in runs))
    hours = [one.settings.slide_ms / WINDOW_MS for one in runs]
    labels = [format_duration(one.settings.slide_ms) for one in runs]
    figure = new_figure("slide, log scale")
    figure.update_xaxes(type="log", tickvals=hours, ticktext=labels)
    by_model: dict[str, list[Cell]] = {}
    for model in models:
        values = np.array([_mean(one.windows, model) for one in runs])
        low, high = np.array([mean_interval(one.windows, model) for one in runs]).T
        add_band(figure, model, hours, 100 * low, 100 * high)
        add_line(figure, model, hours, 100 * values, f"{model} %{{y:.2f}} at %{{x:.2f}} h")
        by_model[model] = [interval_cell(*three, scale=100) for three in zip(values, low, high, strict=True)]
    figure.update_traces(selector={"mode": "lines"}, mode="lines+markers")
    rows = [[Cell(model, model), *cells] for model, cells in by_model.items()]
    table = Table(f"{HEADLINE.upper()} in percent [95 %] by length of the slide", ("model", *labels), rows_of(rows))
    about = "Each point is a run of its own. Shades are 95 % intervals from blocks of consecutive windows, of each run by itself."
    return Section(
        "refresh",
        title,
        lead,
        charts=(Chart("curve", f"{HEADLINE.upper()} by length of the slide", "percent", about, {"": figure}, table),),
    )


def _mean(cells: Cells, model: str) -> float:
    return cells.total(model, HEADLINE) / float(cells.n[cells.of(model)].sum())
