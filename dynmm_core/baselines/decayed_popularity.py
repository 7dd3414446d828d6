"""Popularity that fades: an event counts half as much after every half-life."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Ranker, TriedModel
from dynmm_core.baselines.sparse_ranking import SharedScores
from dynmm_core.baselines.window_popularity import PopularityRanker
from dynmm_core.evidence.panes import count_panes
from dynmm_core.windows.horizons import DecayedCounts


@dataclass(frozen=True)
class DecayedPopularitySettings:
    """``half_life_ms``: after which a click counts half."""

    half_life_ms: int


class FadingClicks:
    """Decayed clicks per item at the end of the last slide, one row per half-life.

    They age only when a slide is taken in: time that passes without one changes no order, and their bits stay those of the
    slides alone.
    """

    def __init__(self, half_lives_ms: Sequence[int]) -> None:
        self._counts = DecayedCounts(half_lives_ms)

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        panes = count_panes(facts.user_idx, facts.item_idx, facts.event_time_ms)
        self._counts.observe(panes.pane_start_ms, panes.item_idx, panes.events)
        self._counts.advance(facts.slide_end_ms)

    def values(self, num_items: int) -> np.ndarray:
        """Return the counts (half_lives, num_items + 1) float64."""
        return self._counts.values(num_items)


class DecayedPopularity(TriedModel):
    """Decayed clicks per item."""

    def __init__(self, *settings: DecayedPopularitySettings) -> None:
        self._clicks = FadingClicks([one.half_life_ms for one in settings])

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        self._clicks.observe(facts)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per half-life."""
        return [PopularityRanker(SharedScores(row)) for row in self._clicks.values(num_items)]
