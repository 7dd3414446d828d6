"""One preset's ranked events in blocks of consecutive windows, over all seeds, and what can be estimated from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.drift.names import ADAPTED, DAY_OLD, ORACLE, STATIC
from dynmm_core.metrics.significance import Estimate, block_sums, ratio_of_sums
from replay.drift_figures import WindowSeries
from replay.results import LONG_BLOCK, LONG_LOG_WINDOWS, SHORT_BLOCK


@dataclass(frozen=True)
class Blocks:
    """Events n (blocks,) and sums of NDCG@10 (blocks,) of each model; a block never spans two seeds.

    Blocks hold ``windows`` windows each: 24, or 6 in streams of fewer than 240, as in the ratios of a replay.
    """

    n: np.ndarray
    ndcg: dict[str, np.ndarray]
    windows: int

    @classmethod
    def of(cls, series: Sequence[WindowSeries]) -> "Blocks":
        """The blocks of a preset's windows, seed by seed, which were ranked with the same models."""
        least = min(len(one.events) for one in series)
        size = LONG_BLOCK if least >= LONG_LOG_WINDOWS else SHORT_BLOCK

        def gathered(columns: Iterable[np.ndarray]) -> np.ndarray:
            return np.concatenate([block_sums(column, size) for column in columns])

        ndcg = {model: gathered(one.sums[model] for one in series) for model in series[0].sums}
        return cls(gathered(one.events for one in series), ndcg, size)

    @property
    def events(self) -> int:
        """Ranked events."""
        return int(self.n.sum())

    def mean(self, model: str) -> Estimate:
        """NDCG@10 of a model, mean over events."""
        return ratio_of_sums(self.ndcg[model], self.n)

    def difference(self, one: str, other: str) -> Estimate:
        """How far one model's NDCG@10 is above another's, event by event."""
        return ratio_of_sums(self.ndcg[one] - self.ndcg[other], self.n)

    def block_differences(self, one: str, other: str) -> np.ndarray:
        """The same of each block (blocks,), for tests that go by ranks."""
        found: np.ndarray = (self.ndcg[one] - self.ndcg[other]) / self.n
        return found

    def share_of_gap(self, model: str) -> Estimate:
        """Which share of the way from the frozen base to the oracle a model goes; below 0 it falls behind the base."""
        return ratio_of_sums(self.ndcg[model] - self.ndcg[STATIC], self.ndcg[ORACLE] - self.ndcg[STATIC])

    def freshness_gain(self) -> Estimate:
        """How far the adapted model is above itself with versions a day older."""
        return self.difference(ADAPTED, DAY_OLD)

    def freshness_gain_over_static(self) -> Estimate:
        """The same as a share of what the frozen base reaches."""
        return ratio_of_sums(self.ndcg[ADAPTED] - self.ndcg[DAY_OLD], self.ndcg[STATIC])
