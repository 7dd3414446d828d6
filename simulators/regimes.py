"""Regimes: what can be drawn, and how often, as long as no drift changes its level."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dynmm_core.errors import UserError
from simulators.drifts import Drift
from simulators.schedule import REDEALT
from simulators.settings import StreamSettings


@dataclass(frozen=True)
class Regimes:
    """Rows are regimes: ``popularity`` (regimes, items) share of an item in its topic, 0 where it does not exist; ``shown``
    (regimes, items) share of an item in what is shown to everybody; ``exposure`` (regimes,) how often that is taken.
    """

    popularity: np.ndarray
    shown: np.ndarray
    exposure: np.ndarray

    @property
    def exists(self) -> np.ndarray:
        """Which items (regimes, items) exist."""
        found: np.ndarray = self.popularity > 0
        return found


class RegimeBuilder:
    """Gives every combination of drift levels a regime, each combination once."""

    def __init__(
        self, settings: StreamSettings, topic_start: np.ndarray, weights: np.ndarray, shown: np.ndarray, drifts: tuple[Drift, ...]
    ) -> None:
        """``weights`` and ``shown`` (items,) are those of everyday life."""
        self._topic_start, self._weights, self._shown = topic_start, weights, shown
        self._settings, self._drifts = settings, drifts
        self._redealt = [
            _redealt(drift, topic_start, drift.generator(settings.seed, "redealt")) if drift.kind in REDEALT else None
            for drift in drifts
        ]
        # In this order a staggered birth or death goes through its items.
        self._turn = [drift.generator(settings.seed, "turn").permutation(len(drift.items)) for drift in drifts]
        self._numbers: dict[tuple[float, ...], int] = {}
        self._rows: list[np.ndarray] = []

    def number_of(self, levels: tuple[float, ...]) -> int:
        """The regime with these levels, one for each drift.

        Raises:
            UserError: no item is left in a topic.
        """
        if levels not in self._numbers:
            self._numbers[levels] = len(self._rows)
            self._rows.append(self._popularity(levels))
        return self._numbers[levels]

    def build(self) -> Regimes:
        """All regimes that were asked for."""
        popularity = np.stack(self._rows)
        shown = np.where(popularity > 0, self._shown, 0.0)
        total = shown.sum(axis=1)
        exposure = np.where(total > 0, self._settings.exposure, 0.0)
        return Regimes(popularity, shown / np.where(total > 0, total, 1.0)[:, None], exposure)

    def _popularity(self, levels: tuple[float, ...]) -> np.ndarray:
        weights = self._weights.copy()
        for drift, level, redealt in zip(self._drifts, levels, self._redealt, strict=True):
            share = level * drift.magnitude
            if redealt is None or share == 0.0:
                continue
            if drift.kind == "incremental":
                weights = weights ** (1.0 - share) * weights[redealt] ** share
            else:
                weights = (1.0 - share) * weights + share * weights[redealt]
        for drift, level, turn in zip(self._drifts, levels, self._turn, strict=True):
            if drift.kind == "item_death":
                weights[drift.items[turn < round(level * len(turn))]] *= 1.0 - drift.magnitude
        self._raise_shares(weights, levels)
        return self._normalised(weights)

    def _raise_shares(self, weights: np.ndarray, levels: tuple[float, ...]) -> None:
        """Births and bursts, in place: in each topic their items share ``magnitude`` of all draws, as far as they are there."""
        for drift in self._drifts:
            if drift.kind == "item_birth":
                weights[drift.items] = 0.0
        for drift, level, turn in zip(self._drifts, levels, self._turn, strict=True):
            if drift.kind not in ("item_birth", "popularity_burst") or level == 0.0 or drift.magnitude == 0.0:
                continue
            there = drift.items[turn < round(level * len(turn))] if drift.kind == "item_birth" else drift.items
            for start, stop in pairwise(self._topic_start):
                first, last = np.searchsorted(drift.items, [start, stop])
                mine = there[(there >= start) & (there < stop)]
                if not len(mine):
                    continue
                share = drift.magnitude * len(mine) / (last - first)
                weights[mine] = 0.0
                others = weights[start:stop].sum()
                weights[mine] = (share / (1.0 - share) * others if others > 0 and share < 1.0 else 1.0) / len(mine)
                if share == 1.0:
                    weights[np.setdiff1d(np.arange(start, stop), mine)] *= 1e-12  # alive still, yet never drawn

    def _normalised(self, weights: np.ndarray) -> np.ndarray:
        sizes = np.diff(self._topic_start)
        totals = np.add.reduceat(weights, self._topic_start[:-1])
        if not (totals > 0).all():
            raise UserError(f"--schedule: topic {int(np.argmin(totals))} is left without items; let fewer of them die or be born")
        normalised: np.ndarray = weights / np.repeat(totals, sizes)
        return normalised


def _redealt(drift: Drift, topic_start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each item (items,) the one whose popularity it takes: the drift's items are dealt anew inside each topic."""
    dealt = np.arange(topic_start[-1])
    for start, stop in pairwise(topic_start):
        first, last = np.searchsorted(drift.items, [start, stop])
        mine = drift.items[first:last]
        dealt[mine] = mine[rng.permutation(len(mine))]
    return dealt
