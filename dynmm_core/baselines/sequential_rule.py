"""The sequential rule: what followed the user's newest items most often, lately; else what is popular."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.decayed_popularity import FadingClicks
from dynmm_core.baselines.item_lists import SMALLEST_SHARE, ItemLists, below
from dynmm_core.baselines.sparse_ranking import SharedScores
from dynmm_core.evidence.pair_counts import RULE_LAGS, PairCounts, PairScales
from dynmm_core.evidence.recents import Recents

WEIGHTS = np.array([1.0, 0.5])


@dataclass(frozen=True)
class SequentialRuleSettings:
    """half_life_ms: of a count and of the popularity below it; gap_ms: longest time between two items counted as a pair;
    followers: how many followers of an item count."""

    half_life_ms: int
    gap_ms: int = 3_600_000
    followers: int = 500


@dataclass(frozen=True)
class RuleRanker:
    """Followers of the newest item, half as much those of the one before, then decayed popularity."""

    pairs: PairCounts
    column: int
    followers: int
    popularity: SharedScores
    smallest: float

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        ids = np.unique(requests.recents.items[:, : len(WEIGHTS)])
        rows = self.pairs.neighbours(ids)
        num_items = len(self.popularity.scores) - 1
        lists = ItemLists.of(ids, rows, rows.values[self.column], num_items, self.followers)
        return lists.rank(requests, WEIGHTS, self.popularity, self.smallest)


class SequentialRule(TriedModel):
    """Decayed counts of which item follows which, lags 1 and 2. All settings share ``gap_ms``."""

    def __init__(self, *settings: SequentialRuleSettings) -> None:
        half_lives, gap_ms = tuple(one.half_life_ms for one in settings), settings[0].gap_ms
        self._settings = settings
        self._pairs = PairCounts(PairScales(half_lives, (), gap_ms, gap_ms))
        self._clicks = FadingClicks(half_lives)

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        near = Recents(facts.recents.items[:, :RULE_LAGS], facts.recents.time_ms[:, :RULE_LAGS])
        self._pairs.observe(facts.item_idx, facts.event_time_ms, near, facts.slide_end_ms)
        self._clicks.observe(facts)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per half-life."""
        pairs, clicks = self._pairs.frozen(), self._clicks.values(num_items)
        largest = pairs.totals(num_items).max(axis=1).astype(np.float64)
        rankers: list[Ranker] = []
        for column, one in enumerate(self._settings):
            smallest = max(float(largest[column]) * SMALLEST_SHARE, 1e-30)
            rankers.append(RuleRanker(pairs, column, one.followers, below(clicks[column], smallest), smallest))
        return rankers
