"""The switch: popularity on the first event of a session, the sequential rule afterwards."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.sequential_rule import SequentialRule, SequentialRuleSettings
from dynmm_core.baselines.window_popularity import WindowPopularity, WindowPopularitySettings


@dataclass(frozen=True)
class SwitchSettings:
    """``window_ms`` of popularity, ``half_life_ms`` of the rule."""

    window_ms: int
    half_life_ms: int


@dataclass(frozen=True)
class SwitchRanker:
    """One ranker for first events of a session, another for later ones."""

    first: Ranker
    later: Ranker

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        better, ties = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
        fresh = requests.session_position == 0
        for ranker, which in ((self.first, fresh), (self.later, ~fresh)):
            rows = np.flatnonzero(which)
            better[rows], ties[rows] = ranker.rank(requests.take(rows))
        return better, ties


class Switch(TriedModel):
    """Window popularity and the sequential rule side by side."""

    def __init__(self, *settings: SwitchSettings) -> None:
        self._popularity = WindowPopularity(*(WindowPopularitySettings(one.window_ms) for one in settings))
        self._rule = SequentialRule(*(SequentialRuleSettings(one.half_life_ms) for one in settings))

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        self._popularity.observe(facts)
        self._rule.observe(facts)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per pair of settings."""
        pairs = zip(self._popularity.freeze_each(as_of_ms, num_items), self._rule.freeze_each(as_of_ms, num_items), strict=True)
        return [SwitchRanker(first, later) for first, later in pairs]
