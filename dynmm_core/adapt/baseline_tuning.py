"""The simple baselines' settings, chosen on the tail with the same number of trials for each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.tail import SLIDE_MS, Tail, items_known_at, slides, start_of_slide
from dynmm_core.baselines.contract import Facts, Requests, TriedModel
from dynmm_core.baselines.models import build_model
from dynmm_core.evidence.recents import RecentItems
from dynmm_core.metrics.ranking import METRICS, expected_metrics
from dynmm_core.model.bundle import CutState
from dynmm_core.model.features import SESSION_GAP_MS
from dynmm_core.times import HOUR_MS

RANKED_TAIL_EVENTS = 20_000
POPULARITY_WINDOWS_MS = tuple(int(hours * HOUR_MS) for hours in (0.25, 0.5, 1, 3, 6, 12, 24))
HALF_LIVES_MS = tuple(int(hours * HOUR_MS) for hours in (0.25, 1, 6, 24, 168, 1_440, 8_736))
SWITCHES_HOURS = ((0.25, 0.5), (0.25, 2), (1, 2), (1, 12), (6, 72), (24, 336), (24, 8_736))
BLOCK_EVENTS = 50_000

Grids = dict[str, list[dict[str, int]]]
GRIDS: Grids = {
    "window_popularity": [{"window_ms": ms} for ms in POPULARITY_WINDOWS_MS],
    "decayed_popularity": [{"half_life_ms": ms} for ms in HALF_LIVES_MS],
    "sequential_rule": [{"half_life_ms": ms} for ms in HALF_LIVES_MS],
    "item_knn": [{"half_life_ms": ms} for ms in HALF_LIVES_MS],
    "session_knn": [{"half_life_ms": ms} for ms in HALF_LIVES_MS],
    "switch": [{"window_ms": int(w * HOUR_MS), "half_life_ms": int(h * HOUR_MS)} for w, h in SWITCHES_HOURS],
}
BASELINE_TRIALS = sum(len(grid) for grid in GRIDS.values())

_NDCG = METRICS.index("ndcg@10")


@dataclass(frozen=True)
class TunedBaselines:
    """The best settings by model name, and every trial: model, its settings, NDCG@10 on the tail."""

    settings: dict[str, dict[str, Any]]
    trials: list[dict[str, Any]]


def tune_baselines(cut: CutState, tail: Tail, advance: Callable[[int], None], grids: Grids = GRIDS) -> TunedBaselines:
    """Choose every simple model's settings by NDCG@10 on the tail, in one pass over it; the earlier trial where two tie.

    At most ``RANKED_TAIL_EVENTS`` events are ranked, evenly spaced over the tail.

    Args:
        advance: called with the number of trials of a model, for each.
    """
    events = len(cut.event_time_ms) - tail.row
    ranked = np.unique(np.linspace(0, events - 1, min(events, RANKED_TAIL_EVENTS)).astype(np.int64)) + tail.row
    models = [build_model(name, *grid) for name, grid in grids.items()]
    settings: dict[str, dict[str, int]] = {}
    trials: list[dict[str, Any]] = []
    for (name, grid), means in zip(grids.items(), mean_ndcg(cut, tail.row, models, ranked), strict=True):
        settings[name] = grid[int(np.argmax(means))]
        trials += [{"model": name, **one, "ndcg@10": float(mean)} for one, mean in zip(grid, means, strict=True)]
        advance(len(grid))
    return TunedBaselines(settings, trials)


def mean_ndcg(cut: CutState, row: int, models: Sequence[TriedModel], ranked: np.ndarray, long_items: int = 0) -> list[np.ndarray]:
    """Return each model's NDCG@10 per setting on the events ``ranked`` (r,), rising and from ``row`` on; refreshed hourly.

    An event is ranked with its user's events up to it, consumed items excluded, before its slide is learned from.

    Args:
        long_items: how far sequence models look back, if there are any.
    """
    walk = _Walk(cut, row, long_items)
    for facts in walk.head():
        for model in models:
            model.observe(facts)
    for model in models:
        model.begin(walk.start_ms)
    sums: list[np.ndarray | float] = [0.0] * len(models)
    for facts, requests, as_of_ms in walk.slides(ranked):
        if len(requests):
            for number, model in enumerate(models):
                rankers = model.freeze_each(as_of_ms, items_known_at(cut, as_of_ms))
                found = [expected_metrics(*ranker.rank(requests))[:, _NDCG].sum() for ranker in rankers]
                sums[number] = sums[number] + np.array(found)
        for model in models:
            model.observe(facts)
    return [np.asarray(one) / len(ranked) for one in sums]


class _Walk:
    """Goes through the events once: those before ``row`` in blocks of whole slides, then slide by slide."""

    def __init__(self, cut: CutState, row: int, long_items: int) -> None:
        self._cut, self._row = cut, row
        self.start_ms = start_of_slide(cut.event_time_ms[row])
        self._session, self._length = _positions(cut.user_idx, cut.event_time_ms)
        self._recents, self._histories = RecentItems(), Histories(0, 1, long_items)

    def head(self) -> Iterator[Facts]:
        """Yield the facts before the row; the last block is as of the first slide's start."""
        number = self._cut.event_time_ms[: self._row] // SLIDE_MS
        starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
        block = starts // BLOCK_EVENTS
        edges = np.r_[starts[np.r_[True, block[1:] != block[:-1]]], self._row]
        for start, stop in pairwise(edges.tolist()):
            end_ms = min(int(number[stop - 1] + 1) * SLIDE_MS, self.start_ms)
            facts = self._facts(start, stop, end_ms)
            self._learn(facts)
            yield facts

    def slides(self, ranked: np.ndarray) -> Iterator[tuple[Facts, Requests, int]]:
        """Yield each slide's facts, its ranked events as requests, and the end of the slide before."""
        start, as_of_ms = self._row, self.start_ms
        for slide in slides(self._cut, self._row):
            stop = start + len(slide.item_idx)
            facts = self._facts(start, stop, slide.slide_end_ms)
            rows = ranked[np.searchsorted(ranked, start) : np.searchsorted(ranked, stop)] - start
            yield facts, self._requests(facts, self._length[start:stop]).take(rows), as_of_ms
            self._learn(facts)
            start, as_of_ms = stop, slide.slide_end_ms

    def _facts(self, start: int, stop: int, end_ms: int) -> Facts:
        users, items, times = (a[start:stop] for a in (self._cut.user_idx, self._cut.item_idx, self._cut.event_time_ms))
        recents = self._recents.before(users, items, times, within=True)
        return Facts(end_ms, users, items, times, self._session[start:stop], recents)

    def _requests(self, facts: Facts, length: np.ndarray) -> Requests:
        view = self._histories.view(facts.user_idx, facts.item_idx, facts.event_time_ms, within=True)
        return Requests(
            facts.user_idx, facts.item_idx, facts.event_time_ms, facts.recents, facts.session_position, length,
            view.consumed_rows, view.consumed_items, view.long_recents,
        )  # fmt: skip

    def _learn(self, facts: Facts) -> None:
        for one in (self._recents, self._histories):
            one.observe(facts.user_idx, facts.item_idx, facts.event_time_ms)


def _positions(user_idx: np.ndarray, event_time_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each event's place (n,) in its session, and in its user's history; events in canonical order."""
    order = np.argsort(user_idx, kind="stable")
    users, times, place = user_idx[order], event_time_ms[order], np.arange(len(order))
    first = np.r_[True, users[1:] != users[:-1]]
    starts = first | (np.diff(times, prepend=0) > SESSION_GAP_MS)
    session, length = np.empty_like(order), np.empty_like(order)
    session[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    length[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return session, length
