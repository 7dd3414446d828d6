"""Popularity of the last minutes or hours, refreshed at every slide: the counter that adaptation has to beat."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.sparse_ranking import SharedScores
from dynmm_core.evidence.panes import count_panes
from dynmm_core.windows.horizons import HorizonCounts


@dataclass(frozen=True)
class WindowPopularitySettings:
    """``window_ms``: how long a click counts; a multiple of the pane."""

    window_ms: int


@dataclass(frozen=True)
class PopularityRanker:
    """Ranks by one score per item, the same for all."""

    shared: SharedScores

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        return self.shared.rank(requests.targets, requests.consumed_rows, requests.consumed_items)


class WindowPopularity(TriedModel):
    """Clicks per item in a sliding window, whole panes of it."""

    def __init__(self, *settings: WindowPopularitySettings) -> None:
        self._counts = HorizonCounts([one.window_ms for one in settings])

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        panes = count_panes(facts.user_idx, facts.item_idx, facts.event_time_ms)
        self._counts.observe(panes.pane_start_ms, panes.item_idx, panes.events)
        self._counts.advance(facts.slide_end_ms)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per window."""
        self._counts.advance(as_of_ms)
        return [PopularityRanker(SharedScores(row)) for row in self._counts.sums(num_items)]
