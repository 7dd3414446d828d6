"""Item kNN: what was clicked together with the user's newest items, lately; else what is popular."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.decayed_popularity import FadingClicks
from dynmm_core.baselines.item_lists import SMALLEST_SHARE, ItemLists, below
from dynmm_core.baselines.sparse_ranking import SharedScores
from dynmm_core.evidence.pair_counts import PairCounts, PairScales

QUERY_ITEMS = 8
WEIGHTS = 1.0 / (1.0 + 0.15 * np.arange(QUERY_ITEMS))


@dataclass(frozen=True)
class ItemKnnSettings:
    """half_life_ms: of a co-click and of the popularity below it; gap_ms: longest time between two items counted as a pair;
    neighbours: how many of an item count; shrinkage: clicks added to the cosine's denominator."""

    half_life_ms: int
    gap_ms: int = 2_592_000_000
    neighbours: int = 200
    shrinkage: float = 100.0


@dataclass(frozen=True)
class ItemKnnRanker:
    """Cosines with the newest items, summed, newer ones weighing more; then decayed popularity."""

    pairs: PairCounts
    column: int
    totals: np.ndarray
    settings: ItemKnnSettings
    popularity: SharedScores

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        ids = np.unique(requests.recents.items[:, :QUERY_ITEMS])
        num_items = len(self.totals) - 1
        ids = ids[ids <= num_items]
        rows = self.pairs.neighbours(ids)
        mine = np.repeat(self.totals[ids], np.diff(rows.starts))
        theirs = self.totals[np.minimum(rows.items, num_items)]
        cosine = rows.values[self.column] / (np.sqrt(mine * theirs) + self.settings.shrinkage)
        lists = ItemLists.of(ids, rows, cosine, num_items, self.settings.neighbours)
        return lists.rank(requests, WEIGHTS, self.popularity, SMALLEST_SHARE)


class ItemKnn(TriedModel):
    """Decayed co-click counts. All settings share ``gap_ms``."""

    def __init__(self, *settings: ItemKnnSettings) -> None:
        half_lives, gap_ms = tuple(one.half_life_ms for one in settings), settings[0].gap_ms
        self._settings = settings
        self._pairs = PairCounts(PairScales((), half_lives, gap_ms, gap_ms))
        self._clicks = FadingClicks(half_lives)

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        self._pairs.observe(facts.item_idx, facts.event_time_ms, facts.recents, facts.slide_end_ms)
        self._clicks.observe(facts)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per half-life."""
        # Shrinkage weighs more as counts fade.
        pairs, clicks = self._pairs.frozen(as_of_ms), self._clicks.values(num_items)
        totals = pairs.totals(num_items)
        return [
            ItemKnnRanker(pairs, column, totals[column], one, below(clicks[column], SMALLEST_SHARE))
            for column, one in enumerate(self._settings)
        ]
