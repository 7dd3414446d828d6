"""Integer accumulators of the item side: what has been counted so far, and the summaries that follow from it."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.candidate_features import ItemCounts
from dynmm_core.evidence.pace import PaceCounters
from dynmm_core.evidence.panes import PaneCounts
from dynmm_core.model.features import HORIZONS_MS, ITEM_SUMMARY_DIM, ItemActivity, item_summary
from dynmm_core.times import HOUR_MS
from dynmm_core.windows.horizons import DecayedCounts, HorizonCounts


@dataclass(frozen=True)
class FrozenActivity:
    """What the counters say at one moment, for every item known then.

    active (num_items + 1,) any event in the longest horizon; rows (m,) those items, rising; summaries (m, ITEM_SUMMARY_DIM)
    float32 of them; recent (num_items + 1,) decayed
    counts, for drawing negatives; events (num_items + 1,) all events so far; counts: the counters themselves.
    """

    as_of_ms: int
    active: np.ndarray
    rows: np.ndarray
    summaries: np.ndarray
    recent: np.ndarray
    events: np.ndarray
    counts: ItemCounts


class ActivityCounters:
    """Counts items over horizons and decays; the sums are integers, floats come out only in :meth:`freeze`.

    Args:
        half_lives_ms: of the decayed counts;
        base_items: items 1 … base_items are known to the frozen base.
    """

    def __init__(self, half_lives_ms: tuple[int, ...], base_items: int) -> None:
        self.base_items = base_items
        self._events = HorizonCounts(HORIZONS_MS)
        self._users = HorizonCounts((HOUR_MS,))
        self._decayed = DecayedCounts(half_lives_ms)
        self._pace = PaceCounters(half_lives_ms[0])
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
        self._pace.observe(panes, item_idx, event_time_ms - self._first_ms[item_idx])

    def observe_places(
        self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray, session_position: np.ndarray
    ) -> None:
        """Take in by their place in the session what :meth:`observe` took in."""
        self._pace.observe_places(user_idx, item_idx, event_time_ms, session_position)

    def freeze(self, as_of_ms: int, num_items: int, *, summaries: bool = True) -> FrozenActivity:
        """Advance every horizon to ``as_of_ms`` and return what it shows for items 1 … num_items.

        Args:
            summaries: False leaves every summary at zero, which switches the item side's evidence off.
        """
        for counter in (self._events, self._users, self._decayed):
            counter.advance(as_of_ms)
        self._grow(num_items + 1)
        sums, decayed = self._events.sums(num_items), self._decayed.values(num_items)
        active = sums[-1] > 0
        rows = np.flatnonzero(active)
        out = np.zeros((len(rows), ITEM_SUMMARY_DIM), np.float32)
        if summaries and len(rows):
            activity = ItemActivity(
                counts=sums[:, rows], totals=sums.sum(1),
                decayed=decayed[:, rows], decayed_totals=decayed.sum(1),
                users_per_hour=self._users.sums(num_items)[0, rows],
                first_event_ms=self._first_ms[rows], last_event_ms=self._last_ms[rows], in_base=rows <= self.base_items,
            )  # fmt: skip
            out = item_summary(activity, as_of_ms)
        times = (self._first_ms[: num_items + 1].copy(), self._last_ms[: num_items + 1].copy())
        in_base = np.arange(num_items + 1) <= self.base_items
        total = self._total[: num_items + 1].copy()
        counts = ItemCounts(as_of_ms, sums, decayed, *times, in_base, self._pace.freeze(as_of_ms, num_items, total))
        return FrozenActivity(as_of_ms, active, rows, out, decayed[0], total, counts)

    def _grow(self, size: int) -> None:
        have = len(self._total)
        if size > have:
            more = max(size, 2 * have) - have
            self._first_ms = np.r_[self._first_ms, np.full(more, np.iinfo(np.int64).max)]
            self._last_ms = np.r_[self._last_ms, np.zeros(more, np.int64)]
            self._total = np.r_[self._total, np.zeros(more, np.int64)]
