"""Decayed counts per pair of items: which item follows which, and which are clicked together."""

import copy
from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.decayed_table import DecayedTable, TableRows
from dynmm_core.evidence.recents import Recents
from dynmm_core.times import HOUR_MS

RULE_LAGS = 2
REVERSE_WEIGHT = 0.7
LIFT_PRIOR = 5.0


@dataclass(frozen=True)
class PairScales:
    """Half-lives in ms of the rule and of co-click, and the gap of time that each may span.

    The rule weighs an item of lag k with 1/k, co-click with 1 / (1 + .15 (k - 1)), the way back with REVERSE_WEIGHT.
    """

    rule_ms: tuple[int, ...]
    co_click_ms: tuple[int, ...]
    rule_gap_ms: int
    co_click_gap_ms: int

    @classmethod
    def around(cls, half_life_ms: int) -> "PairScales":
        """Scales that follow from the half-life with which the rule ranks best by itself."""
        short, long, longest = half_life_ms, 6 * half_life_ms, 36 * half_life_ms
        return cls((short, long), (short, long, longest), HOUR_MS, 30 * 24 * HOUR_MS)

    @classmethod
    def of_next(cls, half_life_ms: int) -> "PairScales":
        """Scales of what follows at once, by the half-life with which popularity ranks best by itself."""
        gap_ms = 6 * half_life_ms
        return cls((half_life_ms, 3 * half_life_ms), (), gap_ms, gap_ms)

    @property
    def half_lives_ms(self) -> tuple[int, ...]:
        """One per column of values: the rule's, then co-click's."""
        return (*self.rule_ms, *self.co_click_ms)


class PairCounts:
    """Counts of the pairs that every user's events make with the items before them."""

    def __init__(self, scales: PairScales) -> None:
        self.scales = scales
        self._table = DecayedTable(scales.half_lives_ms)

    def __len__(self) -> int:
        return len(self._table)

    def frozen(self, as_of_ms: int | None = None) -> "PairCounts":
        """Return the counts as they stand at ``as_of_ms``, by default where they are; later slides do not change them."""
        frozen = copy.copy(self)
        frozen._table = self._table.frozen(as_of_ms)
        return frozen

    def observe(self, item_idx: np.ndarray, event_time_ms: np.ndarray, recents: Recents, as_of_ms: int) -> None:
        """Take in one slide's events (n,) with the items before them, and move to ``as_of_ms``."""
        scales = self.scales
        gap_ms = event_time_ms[:, None] - recents.time_ms
        row, lag = np.nonzero((recents.items > 0) & (gap_ms < scales.co_click_gap_ms) & (recents.items != item_idx[:, None]))
        previous, item = recents.items[row, lag], item_idx[row]
        rule = np.where((lag < RULE_LAGS) & (gap_ms[row, lag] < scales.rule_gap_ms), 1.0 / (lag + 1), 0.0)
        co_click = 1.0 / (1.0 + 0.15 * lag)
        there = [rule] * len(scales.rule_ms) + [co_click] * len(scales.co_click_ms)
        back = [np.zeros(len(row))] * len(scales.rule_ms) + [REVERSE_WEIGHT * co_click] * len(scales.co_click_ms)
        weights = np.c_[np.stack(there), np.stack(back)]
        times = event_time_ms[row]
        self._table.add(np.r_[previous, item], np.r_[item, previous], np.r_[times, times], weights, as_of_ms)

    def neighbours(self, items: np.ndarray) -> TableRows:
        """Return the neighbours of distinct ``items`` (r,)."""
        return self._table.rows(items)

    def lift(self, previous: np.ndarray, row: np.ndarray, items: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Return (columns, m) float32: how much likelier each of ``items`` (m,) is behind another than anywhere.

        log(((A + 5 p) / (total + 5)) / p) / 2, 0 behind an item that is not known.

        Args:
            previous: (n,) the others, 0 for none; row: (m,) behind which of them each item is;
            prior: (num_items + 1,) p, the share of each item in all events.
        """
        known, p = np.where(previous < len(prior), previous, 0), prior[items]
        total = self.totals_of(known) + LIFT_PRIOR
        ratio = (self._table.at(known, row, items) + LIFT_PRIOR * p) / total[:, row] / p
        return np.asarray(np.log(ratio) / 2.0, np.float32)

    def totals_of(self, items: np.ndarray) -> np.ndarray:
        """Return the sums over the neighbours of ``items`` (…) (columns, …) float32."""
        return self._table.totals_of(items)

    def totals(self, num_items: int) -> np.ndarray:
        """Return the sums over each item's neighbours (columns, num_items + 1) float32."""
        return self._table.totals(num_items)
