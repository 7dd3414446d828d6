"""Figures on real logs that independent code has measured, too: a run outside them has a fault."""

from pathlib import Path

import numpy as np
import pytest

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from replay.config import merge_options
from replay.runner import ReplayRequest, replay_log
from replay.splits import make_split
from tests.replay.tiny import HOUR_MS, bundle_tiny


def prepared(real_data: Path, name: str, folder: Path) -> PreparedLog:
    if not (real_data / name).is_dir():
        pytest.skip(f"DYNMM_DATA holds no {name}")
    prepare_folder(real_data / name, folder / "data", Options())
    return PreparedLog.open(folder / "data")


@pytest.mark.parametrize(
    ("name", "events", "windows", "unknown"),
    [("globo-week1", 427_505, 57, 0.0224), ("movietweetings-100k", 30_000, 1_223, 0.0579), ("ml-1m", 172_585, 7_326, 0.0005)],
)
def test_online_part(real_data: Path, tmp_path: Path, name: str, events: int, windows: int, unknown: float) -> None:
    log = prepared(real_data, name, tmp_path)
    split = make_split(log)

    assert (split.events, split.windows) == (events, windows)
    assert unknown_share(log) == pytest.approx(unknown, abs=0.00005)


def unknown_share(log: PreparedLog) -> float:
    """Share of online events on items without an event before their own hour."""
    table = log.read(["item_id", "event_time_ms"])
    hours = table["event_time_ms"].to_numpy() // HOUR_MS
    items = table["item_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    # Rows are in time order, so that an item's first row is its first event.
    first_hour = hours[np.unique(items, return_index=True)[1]]
    return float((first_hour[items] == hours)[log.cut_row :].mean())


@pytest.mark.parametrize(
    ("windows", "events", "ndcg"),
    # The first windows alone: by the loop without dataflows and store, which the figures of the whole log hold to (golden).
    [(40, 910, 0.21976), pytest.param(1_223, 30_000, 0.1197, marks=pytest.mark.soak)],
)
def test_hourly_refreshed_popularity_of_a_day_through_the_whole_replay(
    real_data: Path, tmp_path: Path, windows: int, events: int, ndcg: float
) -> None:  # fmt: skip
    log = prepared(real_data, "movietweetings-100k", tmp_path)
    bundle_tiny(log, tmp_path / "bundle", epochs=0)
    options = {"models": "window_popularity", "popularity_window": "24h", "threads": 1, "store_every": 10_000}
    options["max_windows"] = windows
    request = ReplayRequest(tmp_path / "data", tmp_path / "bundle", tmp_path / "run", merge_options(options, {}))
    metrics = replay_log(request).metrics

    assert (metrics["events"], metrics["windows"]) == (events, windows)
    assert metrics["models"]["window_popularity"]["ndcg@10"] == pytest.approx(ndcg, abs=0.00005)
