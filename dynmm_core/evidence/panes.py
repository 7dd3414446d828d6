"""Counts per pane and item: what horizons and decays are fed with."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.windows.horizons import PANE_MS


@dataclass(frozen=True)
class PaneCounts:
    """Counts per (pane, item), sorted by pane: pane_start_ms, item_idx, events, users, each (n,)."""

    pane_start_ms: np.ndarray
    item_idx: np.ndarray
    events: np.ndarray
    users: np.ndarray


def count_panes(user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray) -> PaneCounts:
    """Count events (n,) per (pane, item), and the distinct users among them."""
    if not len(item_idx):
        empty = np.zeros(0, np.int64)
        return PaneCounts(empty, empty, empty, empty)
    width = int(item_idx.max()) + 1
    cells = event_time_ms // PANE_MS * width + item_idx
    keys, inverse, events = np.unique(cells, return_inverse=True, return_counts=True)
    pairs = np.unique(inverse * (int(user_idx.max()) + 1) + user_idx) // (int(user_idx.max()) + 1)
    users = np.bincount(pairs, minlength=len(keys))
    return PaneCounts(keys // width * PANE_MS, keys % width, events.astype(np.int64), users.astype(np.int64))
