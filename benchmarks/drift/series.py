"""Finished cells as series of windows: each for itself, all seeds together, and from the drift's start on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from replay.drift_figures import WindowSeries
from replay.truth import DriftMarks


def series_of(document: dict[str, Any]) -> WindowSeries:
    """The windows of one cell."""
    sums = {model: np.array(values) for model, values in document["ndcg@10"].items()}
    return WindowSeries(np.array(document["window_start_ms"]), np.array(document["n"]), sums)


def together(series: Sequence[WindowSeries]) -> WindowSeries:
    """All seeds as one stream, hour by hour: sums are added, so that means are over the events of all.

    Raises:
        ValueError: their windows do not lie at the same hours.
    """
    first = series[0]
    if any(not np.array_equal(one.starts_ms, first.starts_ms) for one in series):
        raise ValueError("together: the windows of the seeds do not lie at the same hours")
    sums = {model: np.sum([one.sums[model] for one in series], axis=0) for model in first.sums}
    return WindowSeries(first.starts_ms, np.sum([one.events for one in series], axis=0), sums)


def since_drift(series: WindowSeries, marks: DriftMarks) -> WindowSeries:
    """The windows from the first drift's start on; all of them where nothing drifts."""
    first = series.window_at(min((drift.start_ms for drift in marks.drifts), default=0))
    sums = {model: values[first:] for model, values in series.sums.items()}
    return WindowSeries(series.starts_ms[first:], series.events[first:], sums)
