"""Integer accumulators of the item side: what has been counted so far, and the summaries that follow from it."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.model.features import HORIZONS_MS, HOUR_MS, ITEM_SUMMARY_DIM, ItemActivity, item_summary
from dynmm_core.windows.horizons import PANE_MS, DecayedCounts, HorizonCounts


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


@dataclass(frozen=True)
class FrozenActivity:
    """What the counters say at one moment, for every item known then.

    popularity (num_items + 1,) int64 over the popularity window; summaries (num_items + 1, ITEM_SUMMARY_DIM) float32,
    zero where not active; active (num_items + 1,) any event in the longest horizon; recent (num_items + 1,) decayed
    counts, for drawing negatives; events (num_items + 1,) all events so far.
    """

    as_of_ms: int
    popularity: np.ndarray
    summaries: np.ndarray
    active: np.ndarray
    recent: np.ndarray
    events: np.ndarray


class ActivityCounters:
    """Counts items over horizons and decays; the sums are integers, floats come out only in :meth:`freeze`.

    Args:
        popularity_window_ms: length of the popularity baseline's window; half_lives_ms: of the decayed counts;
        base_items: items 1 … base_items are known to the frozen base.
    """

    def __init__(self, popularity_window_ms: int, half_lives_ms: tuple[int, ...], base_items: int) -> None:
        self.base_items = base_items
        self._events = HorizonCounts((*HORIZONS_MS, popularity_window_ms))
        self._users = HorizonCounts((HOUR_MS,))
        self._decayed = DecayedCounts(half_lives_ms)
        self._first_ms = np.full(1, np.iinfo(np.int64).max)
        self._last_ms = np.zeros(1, np.int64)
        self._total = np.zeros(1, np.int64)

    def observe(self, panes: PaneCounts, item_idx: np.ndarray, event_time_ms: np.ndarray) -> None:
        """Take in one slide: its pane counts, and its events (n,) for first and last times."""
        self._events.observe(panes.pane_start_ms, panes.item_idx, panes.events)
        self._users.observe(panes.pane_start_ms, panes.item_idx, panes.users)
        self._decayed.observe(panes.pane_start_ms, panes.item_idx, panes.events)
        self._grow(int(item_idx.max(initial=0)) + 1)
        np.minimum.at(self._first_ms, item_idx, event_time_ms)
        np.maximum.at(self._last_ms, item_idx, event_time_ms)
        np.add.at(self._total, panes.item_idx, panes.events)

    def freeze(self, as_of_ms: int, num_items: int, *, summaries: bool = True) -> FrozenActivity:
        """Advance every horizon to ``as_of_ms`` and return what it shows for items 1 … num_items.

        Args:
            summaries: False leaves every summary at zero, which switches the item side's evidence off.
        """
        for counter in (self._events, self._users, self._decayed):
            counter.advance(as_of_ms)
        self._grow(num_items + 1)
        sums, decayed = self._events.sums(num_items), self._decayed.values(num_items)
        active = sums[len(HORIZONS_MS) - 1] > 0
        rows = np.flatnonzero(active)
        out = np.zeros((num_items + 1, ITEM_SUMMARY_DIM), np.float32)
        if summaries and len(rows):
            horizons = sums[: len(HORIZONS_MS)]
            activity = ItemActivity(
                counts=horizons[:, rows], totals=horizons.sum(1),
                decayed=decayed[:, rows], decayed_totals=decayed.sum(1),
                users_per_hour=self._users.sums(num_items)[0, rows],
                first_event_ms=self._first_ms[rows], last_event_ms=self._last_ms[rows], in_base=rows <= self.base_items,
            )  # fmt: skip
            out[rows] = item_summary(activity, as_of_ms)
        return FrozenActivity(as_of_ms, sums[-1], out, active, decayed[0], self._total[: num_items + 1].copy())

    def _grow(self, size: int) -> None:
        have = len(self._total)
        if size > have:
            more = max(size, 2 * have) - have
            self._first_ms = np.r_[self._first_ms, np.full(more, np.iinfo(np.int64).max)]
            self._last_ms = np.r_[self._last_ms, np.zeros(more, np.int64)]
            self._total = np.r_[self._total, np.zeros(more, np.int64)]
