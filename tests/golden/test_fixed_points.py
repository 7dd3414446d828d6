"""Figures on real logs that independent code gave: a run outside them has a fault.

The real evaluation path runs with a backbone of next to no size, since popularity does not look at it.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.loop_settings import LoopSettings
from dynmm_core.adapt.pretrain import frozen, read_cut
from dynmm_core.adapt.stream_state import new_state, state_at
from dynmm_core.adapt.tail import items_known_at, slides, start_of_slide
from dynmm_core.adapt.trainers import new_learners
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.model.bundle import BackboneShape, Choices, CutState, new_backbone
from dynmm_core.model.features import DECAYS
from dynmm_core.model.online import OnlineSettings
from dynmm_core.randomness import torch_generator

MINUTE_MS = 60_000
SHAPE = BackboneShape(hidden_dim=2, latent_dim=2, layers=1, heads=1, max_length=2, dropout=0.0)


def events_of(log: PreparedLog) -> CutState:
    """The whole log in indices."""
    whole = read_cut(log)[0]
    online = log.read(["user_id", "item_id", "event_time_ms"], log.cut_row)
    users, items = (
        dict(zip(whole.user_ids, range(1, 10**9), strict=False)),
        dict(zip(whole.item_ids, range(1, 10**9), strict=False)),
    )
    numbers = [
        np.array([index.setdefault(one, len(index) + 1) for one in online[name].to_pylist()])
        for index, name in ((users, "user_id"), (items, "item_id"))
    ]
    return CutState(
        whole.item_ids, whole.user_ids, np.r_[whole.user_idx, numbers[0]], np.r_[whole.item_idx, numbers[1]],
        np.r_[whole.event_time_ms, online["event_time_ms"].to_numpy()], np.zeros((log.rows, 0), np.int64),
    )  # fmt: skip


def popularity_over(log: PreparedLog, window_ms: int, keep_consumed: bool) -> tuple[float, int, int, float]:
    """Return (NDCG@10, events, windows, share of events on items unknown at the end of the slide before)."""
    whole, cut_row = events_of(log), log.cut_row
    items, users = len(whole.item_ids), len(whole.user_ids)
    model = new_backbone(SHAPE, items)
    model.initialise(torch_generator(0, 0, "test"))
    base = frozen(model, SHAPE, torch.device("cpu"))
    baselines = {"window_popularity": {"window_ms": window_ms}, "sequential_rule": {"half_life_ms": window_ms}}
    choices = Choices(
        half_lives_ms=(window_ms,) * DECAYS,
        adapter_lr=0.0,
        stability_weight=0.0,
        pair_half_life_ms=window_ms,
        baselines=baselines,
    )
    start_ms = start_of_slide(whole.event_time_ms[cut_row])
    models = {"window_popularity": baselines["window_popularity"]}
    state = state_at(whole, cut_row, start_ms, new_state(items, SHAPE.max_length, choices, 0, models))
    settings = LoopSettings(
        models=("window_popularity",), history="event", publish_delay_ms=0, rank_from_ms=None, rank_to_ms=None,
        keep_consumed=keep_consumed, summaries=False, base_users=users, base_items=items, base_newest_ms=0,
        learn_head=False,
    )  # fmt: skip
    learners = new_learners(base, OnlineSettings(learning_rate=0.0, stability_weight=0.0), seed=0)
    loop = AdaptLoop(base, learners, state, start_ms, items_known_at(whole, start_ms), settings)
    total, n, windows, unknown = 0.0, 0, set(), 0
    for slide in slides(whole, cut_row):
        unknown += int((slide.item_idx > loop.num_items).sum())
        for row in loop.step(slide).windows:
            if row.stratum == "all":
                total, n = total + row.sums[METRICS.index("ndcg@10")], n + row.n
                windows.add(row.window_start_ms)
    return total / n, n, len(windows), unknown / n


@pytest.mark.parametrize(
    ("name", "window_min", "keep_consumed", "ndcg", "events", "windows", "unknown"),
    [
        ("movietweetings-100k", 24 * 60, False, 11.97, 30_000, 1_223, 5.79),
        pytest.param("movietweetings-100k", 24 * 60, True, 11.25, 30_000, 1_223, 5.79, marks=pytest.mark.soak),
        ("globo-week1", 15, False, 28.56, 427_505, 57, 2.24),
        pytest.param("globo-week1", 15, True, 26.42, 427_505, 57, 2.24, marks=pytest.mark.soak),
    ],
)
def test_window_popularity_on_a_real_log(
    real_data: Path, tmp_path: Path, name: str, window_min: int, keep_consumed: bool, ndcg: float, events: int, windows: int,
    unknown: float,
) -> None:  # fmt: skip
    prepare_folder(real_data / name, tmp_path / "data", Options())
    found = popularity_over(PreparedLog.open(tmp_path / "data"), window_min * MINUTE_MS, keep_consumed)
    assert round(100 * found[0], 2) == ndcg
    assert found[1:3] == (events, windows)
    assert round(100 * found[3], 2) == unknown
