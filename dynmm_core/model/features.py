"""s_new: from integer summaries to the fixed, versioned feature vectors that the adapter sees."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.times import HOUR_MS

SUMMARY_SCHEMA_VERSION = 2
MINUTE_MS = 60_000
HORIZONS_MS = (15 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS, 168 * HOUR_MS)
DECAY_STEPS = (1, 2, 6, 24, 96)  # half-lives, in multiples of the one that ranks best by itself
DECAYS = len(DECAY_STEPS)
ITEM_SUMMARY_DIM = len(HORIZONS_MS) + DECAYS + 2 + 1 + 3
USER_SUMMARY_DIM = 6
SESSION_GAP_MS = 30 * MINUTE_MS

_PRIOR_COUNT, _PRIOR_TOTAL, _SCALE = 0.3, 30.0, 1_000.0


@dataclass(frozen=True)
class ItemActivity:
    """Integer activity of the active items at one moment; every array has one row or column per active item.

    counts (horizons, n) and users_per_hour (n,) with HORIZONS_MS, decayed (DECAYS, n); totals per horizon and decay
    over all items; first_event_ms, last_event_ms (n,); in_base (n,) whether the frozen base knows the item.
    """

    counts: np.ndarray
    totals: np.ndarray
    decayed: np.ndarray
    decayed_totals: np.ndarray
    users_per_hour: np.ndarray
    first_event_ms: np.ndarray
    last_event_ms: np.ndarray
    in_base: np.ndarray


def log_share(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the smoothed log share of each count in its total, 0 for a share of one per thousand.

    log((c + 0.3) / (total + 30) · 1000): an unseen item keeps a finite value, and a thin total pulls to it.
    """
    return np.log((counts + _PRIOR_COUNT) / (total + _PRIOR_TOTAL) * _SCALE)


def item_summary(activity: ItemActivity, as_of_ms: int) -> np.ndarray:
    """Return s_new (n, ITEM_SUMMARY_DIM) float32 of items at ``as_of_ms``.

    Columns: log share per horizon; log share per decay; trends 15 min : 1 h and 1 h : 6 h; distinct users per
    event in the last hour; log age; log time since the last event; whether the base does not know the item.
    ``Paper: Eq. (1)`` (s_new).
    """
    horizons = log_share(activity.counts, activity.totals[:, None])
    decays = log_share(activity.decayed, activity.decayed_totals[:, None])
    trends = np.stack([horizons[0] - horizons[2], horizons[2] - horizons[4]])
    spread = activity.users_per_hour / np.maximum(activity.counts[2], 1)
    age = np.log1p(np.maximum(as_of_ms - activity.first_event_ms, 0) / HOUR_MS)
    idle = np.log1p(np.maximum(as_of_ms - activity.last_event_ms, 0) / HOUR_MS)
    rows = [*horizons / 3.0, *decays / 3.0, *trends / 3.0, spread, age / 5.0, idle / 5.0, ~activity.in_base]
    return np.stack(rows, axis=1).astype(np.float32)


def user_summary(history_length: np.ndarray, gap_ms: np.ndarray, session_position: np.ndarray) -> np.ndarray:
    """Return s_new (n, USER_SUMMARY_DIM) float32 of requests, from what the history shows before each.

    Columns: 1; first of a session; log session position; log history length; log gap in hours; no history.
    ``Paper: Eq. (1)`` (s_new of the user side).

    Args:
        history_length: (n,) events before the request; gap_ms: (n,) time since the last one, 0 without one;
        session_position: (n,) events of this session before the request.
    """
    empty = history_length == 0
    columns = [
        np.ones(len(history_length)),
        session_position == 0,
        np.log1p(session_position) / 2.0,
        np.log1p(history_length) / 3.0,
        np.where(empty, 0.0, np.log1p(np.maximum(gap_ms, 0) / HOUR_MS) / 5.0),
        empty,
    ]
    return np.stack(columns, axis=1).astype(np.float32)
