"""What depends on data, chosen on the tail with a base that never saw it, within a fixed number of trials."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from dynmm_core.adapt.activity import ActivityCounters, count_panes
from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.loop import AdaptLoop, LoopSettings
from dynmm_core.adapt.tail import Tail, items_known_at, slides
from dynmm_core.adapt.trainers import new_trainer
from dynmm_core.baselines.window_popularity import PopularityRanking
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.bundle import Choices, CutState
from dynmm_core.model.trainer import OnlineSettings
from dynmm_core.windows.horizons import DecayedCounts, HorizonCounts

HOUR_MS = 3_600_000
POPULARITY_WINDOWS_MS = tuple(int(hours * HOUR_MS) for hours in (0.25, 0.5, 1, 3, 6, 12, 24))
HALF_LIVES_MS = tuple(int(hours * HOUR_MS) for hours in (0.5, 1, 3, 12, 48, 168, 672))
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
STABILITY_WEIGHTS = (0.0, 1e-2)
DEFAULT_STABILITY_WEIGHT = 1e-3
RANKED_TAIL_EVENTS = 20_000
TRIALS = len(POPULARITY_WINDOWS_MS) + len(HALF_LIVES_MS) + len(LEARNING_RATES) + len(STABILITY_WEIGHTS)

_NDCG = METRICS.index("ndcg@10")


@dataclass(frozen=True)
class Tuned:
    """The choices, and every trial with its figure on the tail."""

    choices: Choices
    trials: list[dict[str, Any]]


class _RememberedBase(FrozenBase):
    """A base whose user states are remembered: trials ask for the same ones in the same order."""

    def __init__(self, base: FrozenBase) -> None:
        self.__dict__.update(base.__dict__)
        self._remembered: list[tuple[Tensor, Tensor]] = []
        self._next = 0

    def rewind(self) -> None:
        self._next = 0

    def user_states(self, recent: np.ndarray, recent_length: np.ndarray) -> tuple[Tensor, Tensor]:
        if self._next == len(self._remembered):
            self._remembered.append(super().user_states(recent, recent_length))
        self._next += 1
        return self._remembered[self._next - 1]


def tune(cut: CutState, tail: Tail, base: FrozenBase, seed: int, advance: Callable[[int], None]) -> Tuned:
    """Choose popularity window, half-lives, learning rate and λ_s by NDCG@10 on the tail, in ``TRIALS`` trials.

    Args:
        base: trained on the events before the tail alone; advance: called once per finished trial.
    """
    windows, half_lives = _rank_by_popularity(cut, tail)
    trials = [{"popularity_window_ms": ms, "ndcg@10": value} for ms, value in windows.items()]
    trials += [{"half_life_ms": ms, "ndcg@10": value} for ms, value in half_lives.items()]
    advance(len(trials))
    window, half_life = _best(windows), _best(half_lives)
    around = (half_life, half_life // 4, half_life * 4)
    remembered = _RememberedBase(base)
    start = state_at(cut, tail.row, tail.items, window, around, base.backbone.max_length)
    tried: dict[tuple[float, float], float] = {}

    def attempt(learning_rate: float, stability_weight: float) -> None:
        remembered.rewind()
        choices = Choices(
            popularity_window_ms=window, half_lives_ms=around, adapter_lr=learning_rate, stability_weight=stability_weight
        )
        value = _adapted_ndcg(cut, tail, remembered, copy.deepcopy(start), choices, seed)
        tried[learning_rate, stability_weight] = value
        trials.append({"adapter_lr": learning_rate, "stability_weight": stability_weight, "ndcg@10": value})
        advance(1)

    for learning_rate in LEARNING_RATES:
        attempt(learning_rate, DEFAULT_STABILITY_WEIGHT)
    best_rate = _best(tried)[0]
    for stability_weight in STABILITY_WEIGHTS:
        attempt(best_rate, stability_weight)
    rate, weight = _best(tried)
    choices = Choices(popularity_window_ms=window, half_lives_ms=around, adapter_lr=rate, stability_weight=weight)
    return Tuned(choices, trials)


Key = TypeVar("Key")


def _best(figures: dict[Key, float]) -> Key:
    return max(figures, key=lambda key: figures[key])


def _rank_by_popularity(cut: CutState, tail: Tail) -> tuple[dict[int, float], dict[int, float]]:
    """Return NDCG@10 on the tail by popularity window and by half-life, refreshed at every slide."""
    head = slice(0, tail.row)
    horizons, decays = HorizonCounts(POPULARITY_WINDOWS_MS), DecayedCounts(HALF_LIVES_MS)
    panes = count_panes(cut.user_idx[head], cut.item_idx[head], cut.event_time_ms[head])
    histories = Histories(0, 1)
    histories.observe(cut.user_idx[head], cut.item_idx[head], cut.event_time_ms[head])
    for counter in (horizons, decays):
        counter.observe(panes.pane_start_ms, panes.item_idx, panes.events)
    sums, total, num_items, as_of_ms = np.zeros(len(POPULARITY_WINDOWS_MS) + len(HALF_LIVES_MS)), 0, tail.items, tail.start_ms
    for slide in slides(cut, tail.row):
        horizons.advance(as_of_ms)
        decays.advance(as_of_ms)
        view = histories.view(slide.user_idx, slide.item_idx, slide.event_time_ms, within=True)
        scores = [*horizons.sums(num_items), *decays.values(num_items)]
        for row, score in enumerate(scores):
            found = PopularityRanking(score).metrics(slide.item_idx, view.consumed_rows, view.consumed_items)
            sums[row] += found[:, _NDCG].sum()
        total += len(slide.item_idx)
        histories.observe(slide.user_idx, slide.item_idx, slide.event_time_ms)
        for counter in (horizons, decays):
            counter.observe(slide.panes.pane_start_ms, slide.panes.item_idx, slide.panes.events)
        num_items, as_of_ms = max(num_items, int(slide.item_idx.max())), slide.slide_end_ms
    means = (sums / total).tolist()
    split = len(POPULARITY_WINDOWS_MS)
    return dict(zip(POPULARITY_WINDOWS_MS, means[:split], strict=True)), dict(zip(HALF_LIVES_MS, means[split:], strict=True))


def state_at(
    cut: CutState, row: int, base_items: int, window_ms: int, half_lives_ms: tuple[int, ...], max_length: int
) -> tuple[Histories, ActivityCounters]:
    """Return histories and counters after the first ``row`` events."""
    users, items, times = (a[:row] for a in (cut.user_idx, cut.item_idx, cut.event_time_ms))
    histories, counters = Histories(base_items, max_length), ActivityCounters(window_ms, half_lives_ms, base_items)
    histories.observe(users, items, times)
    counters.observe(count_panes(users, items, times), items, times)
    return histories, counters


def _adapted_ndcg(
    cut: CutState, tail: Tail, base: FrozenBase, start: tuple[Histories, ActivityCounters], choices: Choices, seed: int
) -> float:
    """Run the loop over the tail and return the adapted model's NDCG@10 on its last events."""
    settings = LoopSettings(
        models=("adapted",), history="event", publish_delay_ms=0, rank_to_ms=None, keep_consumed=False, summaries=True,
        rank_from_ms=int(cut.event_time_ms[max(tail.row, len(cut.event_time_ms) - RANKED_TAIL_EVENTS)]),
        base_users=tail.users, base_items=tail.items, base_newest_ms=int(cut.event_time_ms[tail.row - 1]),
    )  # fmt: skip
    online = OnlineSettings(learning_rate=choices.adapter_lr, stability_weight=choices.stability_weight)
    loop = AdaptLoop(base, new_trainer(base, online, seed), *start, tail.start_ms, items_known_at(cut, tail.start_ms), settings)
    total, n = 0.0, 0
    for slide in slides(cut, tail.row):
        for row in loop.step(slide).windows:
            if row.stratum == "all":
                total, n = total + row.sums[_NDCG], n + row.n
    return total / max(n, 1)
