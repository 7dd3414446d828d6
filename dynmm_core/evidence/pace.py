"""How fast an item is clicked just now, what opens sessions, and how an item's life began."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.panes import PaneCounts, count_panes
from dynmm_core.times import DAY_MS
from dynmm_core.windows.horizons import PANE_MS, DecayedCounts, HorizonCounts

SPANS = 5
OPENING_STEPS = (1, 4)  # half-lives, in units
PRIOR_COUNT, PRIOR_TOTAL = 0.3, 30.0
_SCALE = 1_000.0
_EARLY_UNITS = 2


@dataclass(frozen=True)
class ItemPace:
    """What :class:`PaceCounters` say of items 1 … num_items; column 0 is padding, all (…, num_items + 1).

    spans: events in the last 1/3, 2/3, 1, 2 and 4 units; openings: decayed clicks that open a session, then those that come
    later, for each of OPENING_STEPS; early: events in the first 2 units of an item's life; total: all events.
    """

    spans: np.ndarray
    openings: np.ndarray
    early: np.ndarray
    total: np.ndarray


class PaceCounters:
    """Counts clicks by what they say of the next hour.

    Args:
        half_life_ms: of the popularity that ranks best by itself: the unit, a day at most, so that no span holds more than four.
    """

    def __init__(self, half_life_ms: int) -> None:
        unit = max(min(half_life_ms, DAY_MS) // PANE_MS, 1) * PANE_MS
        panes = unit // PANE_MS
        spans = [max(panes // 3, 1), max(2 * panes // 3, 1), panes, 2 * panes, 4 * panes]
        self._early_ms = _EARLY_UNITS * unit
        self._spans = HorizonCounts([span * PANE_MS for span in spans])
        self._openings, self._later = (DecayedCounts([unit * step for step in OPENING_STEPS]) for _ in range(2))
        self._early = np.zeros(1, np.int64)

    def observe(self, panes: PaneCounts, item_idx: np.ndarray, age_ms: np.ndarray) -> None:
        """Take in a slide's pane counts, and of its events (n,) the items and how old those were."""
        self._spans.observe(panes.pane_start_ms, panes.item_idx, panes.events)
        self._grow(int(item_idx.max(initial=0)) + 1)
        np.add.at(self._early, item_idx[age_ms < self._early_ms], 1)

    def observe_places(
        self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray, session_position: np.ndarray
    ) -> None:  # fmt: skip
        """Take in the same events (n,) by their place in the session: 0 opens one."""
        opens = session_position == 0
        for counter, some in ((self._openings, opens), (self._later, ~opens)):
            panes = count_panes(user_idx[some], item_idx[some], event_time_ms[some])
            counter.observe(panes.pane_start_ms, panes.item_idx, panes.events)

    def freeze(self, as_of_ms: int, num_items: int, total: np.ndarray) -> ItemPace:
        """Advance to ``as_of_ms`` and return what the counters show; ``total`` (num_items + 1,): all events."""
        for counter in (self._spans, self._openings, self._later):
            counter.advance(as_of_ms)
        self._grow(num_items + 1)
        openings = np.concatenate([self._openings.values(num_items), self._later.values(num_items)])
        return ItemPace(self._spans.sums(num_items), openings, self._early[: num_items + 1].copy(), total)

    def _grow(self, size: int) -> None:
        have = len(self._early)
        if size > have:
            self._early = np.r_[self._early, np.zeros(max(size, 2 * have) - have, np.int64)]


def pace_feature_count() -> int:
    """Width of :func:`pace_features`."""
    return 2 + 2 * len(OPENING_STEPS) + 2 + 3


def pace_features(pace: ItemPace, items: np.ndarray, age_hours: np.ndarray) -> np.ndarray:
    """Return (pace_feature_count, m) of ``items`` (m,), of age ``age_hours`` (m,).

    Rows: log share of the two shortest spans and of each row of openings; growth, last unit to the one before and last two
    to the two before; log of early events, of all events, and of events per hour of life. Scaled to about one.
    """
    spans = pace.spans[:, items].astype(np.float64)
    unit, before, long_before = spans[2], spans[3] - spans[2], spans[4] - spans[3]
    totals = pace.total[items]
    return np.stack(
        [
            *log_share(spans[:2], pace.spans[:2].sum(1)[:, None]) / 3.0,
            *log_share(pace.openings[:, items], pace.openings.sum(1)[:, None]) / 3.0,
            np.log((unit + 1.0) / (before + 1.0)),
            np.log((spans[3] + 1.0) / (long_before + 1.0)),
            np.log1p(pace.early[items]) / 3.0,
            np.log1p(totals) / 5.0,
            np.log((totals + 0.3) / (age_hours + 0.25)) / 3.0,
        ]
    )


def log_share(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Smoothed log share: an unseen item keeps a finite value, and a thin total pulls to 0, which is one per thousand."""
    return np.asarray(np.log((counts + PRIOR_COUNT) / (totals + PRIOR_TOTAL) * _SCALE))
