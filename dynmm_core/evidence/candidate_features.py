"""What the online head sees of a candidate: the item's own popularity and age, and what pairs say of it for this request."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.candidates import Candidates
from dynmm_core.evidence.pace import PRIOR_COUNT, PRIOR_TOTAL, ItemPace, log_share, pace_feature_count, pace_features
from dynmm_core.evidence.pair_counts import LIFT_PRIOR
from dynmm_core.times import HOUR_MS


@dataclass(frozen=True)
class ItemCounts:
    """What has been counted of items 1 … num_items at ``as_of_ms``; column 0 is padding, all (…, num_items + 1).

    horizons: events in each sliding horizon, rising in length; decayed: events by each half-life, rising; first_event_ms,
    last_event_ms; in_base: whether the frozen base knows the item; pace: how fast it is clicked just now.
    """

    as_of_ms: int
    horizons: np.ndarray
    decayed: np.ndarray
    first_event_ms: np.ndarray
    last_event_ms: np.ndarray
    in_base: np.ndarray
    pace: ItemPace

    @property
    def num_items(self) -> int:
        """Items known: 1 … num_items."""
        return int(self.horizons.shape[1]) - 1


def item_feature_count(horizons: int, decays: int) -> int:
    """Width of :func:`item_features`."""
    return horizons + decays + 5 + pace_feature_count()


def pair_feature_count(columns: int) -> int:
    """Width of :func:`pair_features`."""
    return columns + 2


def item_features(counts: ItemCounts, items: np.ndarray) -> np.ndarray:
    """Return (item_feature_count, m) float32 of ``items`` (m,).

    Rows: log share per horizon and per decay; trends, first horizon to third and third to fifth; log age; log time since
    the last event; whether the base does not know the item; those of :func:`pace_features`. Scaled to about one.
    """
    horizons = log_share(counts.horizons[:, items], counts.horizons.sum(1)[:, None]) / 3.0
    decays = log_share(counts.decayed[:, items], counts.decayed.sum(1)[:, None]) / 3.0
    age_hours = np.maximum(counts.as_of_ms - counts.first_event_ms[items], 0) / HOUR_MS
    idle = np.log1p(np.maximum(counts.as_of_ms - counts.last_event_ms[items], 0) / HOUR_MS) / 5.0
    trends = [horizons[0] - horizons[2], horizons[2] - horizons[4]]
    age, pace = np.log1p(age_hours) / 5.0, pace_features(counts.pace, items, age_hours)
    return np.stack([*horizons, *decays, *trends, age, idle, ~counts.in_base[items], *pace]).astype(np.float32)


def item_prior(counts: ItemCounts, row: int = 1) -> np.ndarray:
    """Return the smoothed share (num_items + 1,) float32 of each item in the events, by one half-life."""
    decayed = counts.decayed[row]
    return np.asarray((decayed + PRIOR_COUNT) / (decayed.sum() + PRIOR_TOTAL), np.float32)


def pair_features(candidates: Candidates, prior: np.ndarray) -> np.ndarray:
    """Return (pair_feature_count, m) float32 of the candidates.

    Rows: per column of the pairs log(((A + 5 p) / (total + 5)) / p), how much likelier the item is here than anywhere;
    log cosine of co-click; whether there is any co-click.

    Args:
        prior: (num_items + 1,) p, the share of each item in the events.
    """
    p = prior[candidates.items]
    lift = np.log((candidates.sums + LIFT_PRIOR * p) / (candidates.totals + LIFT_PRIOR)[:, candidates.row] / p) / 2.0
    cosine = np.log(candidates.cosine + 1e-3) / 3.0
    return np.stack([*lift, cosine, candidates.sums[-1] > 0]).astype(np.float32)
